"""The options of ``python -m games.patchgame``: one dataclass that is the command line.

One file, because it is the command line: whoever looks for an option finds all of them here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from patchgame_egg.choices import Gate, Padding, RankOp, Silence
from patchgame_egg.patches import patch_grid, patch_sizes

# Enough messages for every metric, few enough for seconds.
IMAGES = 4096
"""The most images whose messages are written down as the language of a run."""


RANDOM, SAME_CLASS = KINDS = ("random", "class")
"""What ``--distractors`` may be, beside a run or a file."""


@dataclass(frozen=True)
class SpeakerOptions:
    """The speaker: who looks at the image, and what there is to say."""

    speaker: Literal["patch", "lstm", "gru", "rnn", "transformer"] = "patch"
    """The paper's speaker of patches, or one that says one symbol after another about the whole image."""
    vocab: int = 128
    """V, the number of symbols that carry meaning; the end of a sequence is not one of them."""
    logit_scale: float = 6.0
    """Spread of the symbols' logits (patch: standardised over the batch); 0: leave the logits alone (the paper)."""
    patch_size: int = 8
    """Patch: S, side of the square patches in pixels; divides the image size."""
    patch_scales: int = 1
    """Patch: sizes of patches in one message: S, 2S, 4S, ... (the paper: 1); all divide the image size."""
    symbols_per_patch: int = 1
    """Patch: l, symbols that each patch sends."""
    patch_network: Literal["mlp", "conv"] = "mlp"
    """Patch: PatchSymbol is the paper's MLP on the pixels, or convolutions averaged over the patch, which do not mind
    where in the patch a thing lies."""
    symbol_hidden: int = 256
    """Patch: width of PatchSymbol's MLP; its convolutions have a quarter and half of it."""
    context: bool = False
    """Patch: PatchSymbol is a ViT-tiny over the whole image, as in the release, not an MLP on each patch."""
    released_symbol: bool = False
    """Patch: PatchSymbol is what the release's is: the ViT of --context has a class token; without --context, there is
    no ReLU, and each patch knows its place."""
    rank_width: int = 16
    """Patch: channels of the first block of PatchRank's ResNet-9."""
    rank_padding: Padding = "replicate"
    """Patch: what PatchRank sees beyond the border: the nearest pixels again, or zeros (the release)."""
    rank_mirrored: bool = True
    """Patch: left and right are alike to PatchRank: of a mirrored image it makes, nearly, the mirrored map."""
    rank_dropout: float = 0.0
    """Patch: dropout before PatchRank's scores."""
    max_len: int = 18
    """Sequence: the most symbols that a message has; the end is not counted."""
    fixed_len: bool = False
    """Sequence: every message has --max-len symbols; there is no end to choose."""
    encoder: str = "resnet9"
    """Sequence: network that sums the image up; resnet9 (ours), or a model name of torchvision or timm."""
    encoder_width: int = 16
    """Sequence: channels of the first block, where the encoder is resnet9."""
    decoder_dim: int = 192
    """Sequence: width of the decoder."""
    decoder_depth: int = 1
    """Sequence: layers of the decoder."""
    decoder_heads: int = 3
    """Sequence: attention heads of the transformer."""
    speakers: int = 1
    """Speakers in the population; every batch is played by a pair drawn anew."""


@dataclass(frozen=True)
class ChannelOptions:
    """The channel: how the speaker's numbers become symbols, and how a gradient gets past that."""

    channel: Literal["gumbel", "reinforce", "quantised", "continuous"] = "gumbel"
    """Straight-through Gumbel-softmax, the score function, a learnt codebook, or no bottleneck at all (the ceiling)."""
    speak_cost: float = 0.0
    """Price of a spoken symbol, in nats of the listener's loss, after growing from 0; patches need --gate free."""
    gate: Gate = "rank"
    """Patch: who speaks. Equation 8 (half of the patches), each patch for itself, or the release's soft gate."""
    keep: int | None = None
    """Patch: exactly this many patches speak, drawn in training, the likeliest in evaluation; None: as many as do."""
    keep_fraction: float | None = None
    """Patch: the same as a share of all patches."""
    rank_strength: float = 1.0
    """Patch: regularisation of the soft rank: the larger, the closer together the probabilities of speaking."""
    rank_spread: float = 0.29
    """Patch: standardise each image's scores to this spread, in shares of all ranks; 0: rank them as they are."""
    rank_op: RankOp = "torch"
    """Patch: who computes the soft rank; torchsort is an optional package."""
    gumbel_start: float = 1.0
    """Gumbel: temperature of the softmax at the first step."""
    gumbel_end: float = 1.0
    """Gumbel: temperature from the end of the annealing on."""
    entropy_start: float = 0.001
    """Reinforce: weight of the entropy at the first step, per nat of a message."""
    entropy_end: float = 0.0
    """Reinforce: weight of the entropy from the end of the annealing on."""
    anneal: float = 0.5
    """Share of the training over which the temperature, the weight of the entropy and the price of a symbol change."""
    baseline: Literal["mean", "learnt"] = "learnt"
    """Reinforce: what the loss is compared with: a running mean, or a prediction from the speaker's logits."""
    code_dim: int = 32
    """Quantised: numbers in a code."""
    commitment: float = 0.25
    """Quantised: weight of the loss that keeps the speaker near the codes."""


@dataclass(frozen=True)
class ListenerOptions:
    """The listener: how it reads the message, how it sees the other view."""

    text_dim: int = 96
    """Width of the text encoder."""
    text_depth: int = 2
    """Blocks of the text encoder."""
    text_heads: int = 3
    """Attention heads of the text encoder."""
    text_norm: Literal["pre", "post"] = "pre"
    """Pre-norm blocks with GELU (ViT), or post-norm with ReLU (Vaswani et al.; the release)."""
    silence: Silence = "gate"
    """Silent patches: are skipped, pass a gradient to their gate, or are attended to as zero vectors (the release)."""
    vision: str = "resnet9"
    """Vision trunk: resnet9 (ours), or a model name of torchvision or timm, with random weights."""
    vision_width: int = 32
    """Channels of the first block, where the trunk is resnet9."""
    head_hidden: int = 256
    """Hidden width of both projection heads."""
    head_bottleneck: int = 128
    """Width of the projections, or of the bottleneck before the wide map."""
    head_wide: int = 0
    """Width of the weight-normalised last map; 0: stop at the bottleneck."""
    listeners: int = 1
    """Listeners in the population."""


@dataclass(frozen=True)
class LossOptions:
    """The loss: symmetric InfoNCE over the batch of all processes, and over distractors if wanted."""

    temperature: float = 0.07
    """tau, or where it starts if it is learnt."""
    learn_temperature: bool = False
    """Learn tau; the paper keeps it constant."""
    reduction: Literal["mean", "sum"] = "mean"
    """Over a batch of B images, mean or sum (equations 1 and 2): with sum, SGD steps as far at --lr as with mean at B
    times --lr. The loss that is logged is the mean; AdamW's steps do not depend on this."""
    detach_negatives: bool = False
    """Gather embeddings without their gradients, as the release does."""
    distractors: str = ""
    """Images that stand beside each image, of the same part: random; class, of the same class; the folder of a run,
    nearest by its features; or a file that names some for each, JSON lines with file and distractors. Empty: none."""
    num_distractors: int = 7
    """K, how many distractors stand beside each image."""
    in_batch: bool = True
    """The other images of a batch are candidates, too. Without: an image and its distractors alone, by chance
    1 / (1 + K), as in EGG's discrimination games."""
    ground: str = ""
    """Human sentences by which the listener learns, too, in training: a file as for --captions, or scenes for those
    about the built-in ones; empty: none, the listener hears symbols alone."""
    ground_share: float = 1.0
    """Share of the captioned images whose sentences are read."""


@dataclass(frozen=True)
class DataOptions:
    """The images and their random views."""

    data: str = "scenes"
    """scenes (built in), folder, shards, or a torchvision set: cifar10, stl10, imagenet, ..."""
    root: str = ""
    """Folder of the images; holds train/ and val/, or is split 95 to 5. Shards: 'DIR/train-{0000..0146}.tar'."""
    val_root: str = ""
    """Shards: the held-out ones; empty: ``val-*.tar`` beside the others."""
    download: bool = False
    """Fetch a torchvision set that is missing from --root."""
    class_level: int = 1
    """Folder: which folder on the way to an image, from train/ or --root on, names its class: 2 of sketch/dog/1.jpg."""
    val_share: float | None = None
    """How much is held out of images without a held-out part; None: 0.05."""
    limit: int | None = None
    """The most images to train on, and to hold out; the same ones every time; None: all."""
    image_size: int = 48
    """Side of the views in pixels."""
    load_size: int | None = None
    """Side to which images are resized and cropped before the views are cut; None: 8/7 of the image size."""
    annotations: str = ""
    """Folder: what its images show, for the analysis: JSON lines, CSV, COCO's JSON, or a folder of Pascal VOC's XML."""
    captions: str = ""
    """Folder: sentences about its images, for the analysis: JSON lines or CSV with file and caption, several a file."""
    scenes: int = 8192
    """Number of built-in scenes to train on; an eighth as many, at least 1024, are held out."""
    workers: int | None = None
    """Processes per rank that decode images; None: 0 without a GPU, else a core each, up to 16, but for one."""
    cache: str = ""
    """Folder in which decoded images are kept for all runs; auto: cache in --out."""
    decode: Literal["cpu", "gpu"] = "cpu"
    """Who decodes JPEG files: the workers, or the GPU, whose pixels differ a little."""
    views: str = ""
    """Whose views are played in the place of ours: module:function, which takes the image size and gives the speaker's
    and the listener's transform (kornia's, torchvision's v2, your own); empty: ours, as strong as below."""
    min_area: float = 0.8
    """Smallest share of an image that a view shows."""
    jitter: float = 0.5
    """Probability of the colour changes (brightness .4, contrast .4, saturation .2, hue .1)."""
    grey: float = 0.1
    """Probability of greyscale."""
    blur: tuple[float, float] = (0.1, 0.1)
    """Probability of Gaussian blur, of the speaker's and of the listener's view."""
    solarise: tuple[float, float] = (0.0, 0.1)
    """Probability of solarisation, of the speaker's and of the listener's view."""
    view_ramp: float | None = None
    """Share of the training over which our views grow from the whole image to this strength; 0: as strong from the
    start. None: 0.6 on the built-in scenes, which are told apart sooner so, and by their objects; 0 on all others,
    which are told apart less well. Baselines, and views of one's own, do not grow."""


@dataclass(frozen=True)
class TrainingOptions:
    """How long and how to train."""

    epochs: int = 8
    """Epochs."""
    batch_size: int = 128
    """Images per step, over all processes."""
    candidates: int = 128
    """Images among which each held-out message is matched."""
    optimizer: Literal["muon", "adamw", "sgd"] = "muon"
    """Muon for matrices and kernels with AdamW for all else, AdamW for all, or SGD with momentum 0.9."""
    lr: float = 5e-4
    """Learning rate after the warm-up."""
    speaker_lr: float | None = None
    """Learning rate of the speaker as a share of --lr; None: 1, and 0.1 under REINFORCE, whose steps are noisy."""
    min_lr: float = 1e-5
    """Learning rate at the end of the cosine."""
    warmup: float = 0.5
    """Epochs of linear warm-up."""
    weight_decay: float = 0.05
    """Weight decay; none on biases and other vectors."""
    weight_decay_end: float | None = None
    """Weight decay at the end of a cosine, None: constant."""
    freeze_epochs: int = 0
    """Epochs during which the wide maps of the heads do not learn."""
    grad_norm: float | None = 1.0
    """Clip gradients to this norm; None: do not."""
    accumulate: int = 1
    """Batches per optimizer step; each has only its own negatives."""
    micro_batch: int = 0
    """Images whose activations are in memory at once, 0: all; the whole batch's loss, for one more forward pass."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Number format of the networks; auto: bf16 where the device multiplies it natively, else fp32. A run keeps its."""
    compile: bool = False
    """Compile the networks, but for the text encoder, whose messages vary in length; takes minutes at the start."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    seed: int = 0
    """Of the weights, the views, the noise, the order and the scenes."""


@dataclass(frozen=True)
class RunOptions:
    """What is written where."""

    out: str = "runs"
    """Folder in which the run gets a folder of its own."""
    name: str = ""
    """Name of the run's folder; empty: preset, data and a number."""
    checkpoint_every: int = 200
    """Steps between checkpoints; one is also written after every epoch."""
    tensorboard: bool = True
    """Write TensorBoard logs."""
    pictures: bool = True
    """Draw learning curves, importance maps and a gallery of the symbols at the end."""
    corpus: bool = True
    """Write the language of the held-out images to corpus.npz at the end."""
    analyse_every: int = 1
    """Epochs from one analysis of the held-out language to the next, while it is learnt; 0: none."""
    init_from: str = ""
    """Folder of a finished run from whose options and agents a new run starts, on other images or schedules; its
    optimizer starts anew."""
    keep_memory: bool = True
    """On a CPU, keep freed memory for the next tensors (glibc): faster, for a higher peak."""
    timeout: float = 600.0
    """Seconds after which the processes under torchrun give up one that does not answer, and end."""
    frozen_speaker: str = ""
    """Folder of a run whose speaker, with its options and image size, is taken over and learns no more: how easily is
    its language learnt?"""
    wandb: str = ""
    """Project on Weights & Biases to log to (needs the package)."""


@dataclass(frozen=True)
class Config:
    """PatchGame: a speaker describes one view of an image by symbols for some of its patches, a listener finds the
    image among others by another view of it."""

    speaker: SpeakerOptions = field(default_factory=SpeakerOptions)
    channel: ChannelOptions = field(default_factory=ChannelOptions)
    listener: ListenerOptions = field(default_factory=ListenerOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    images: DataOptions = field(default_factory=DataOptions)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    run: RunOptions = field(default_factory=RunOptions)

    @property
    def grid(self) -> int:
        """Patches along one side, of the smallest."""
        return patch_grid(self.images.image_size, self.speaker.patch_size)

    @property
    def patches(self) -> int:
        """Patches of an image, of all sizes."""
        size = self.images.image_size
        sides = patch_sizes(size, self.speaker.patch_size, self.speaker.patch_scales)
        return sum((size // side) ** 2 for side in sides)

    @property
    def slots(self) -> int:
        """The symbols of the longest message."""
        s = self.speaker
        return self.patches * s.symbols_per_patch if s.speaker == "patch" else s.max_len

    @property
    def keep(self) -> int | None:
        """How many patches speak, where that is fixed."""
        share = self.channel.keep_fraction
        return self.channel.keep if share is None else max(1, round(share * self.patches))

    @property
    def speaker_lr(self) -> float:
        """Learning rate of the speaker, as a share of the listener's."""
        asked = self.training.speaker_lr
        if asked is None:
            return 0.1 if self.channel.channel == "reinforce" else 1.0
        return asked

    @property
    def view_ramp(self) -> float:
        """Share of the training over which views grow."""
        asked = self.images.view_ramp
        if asked is None:
            return 0.6 if self.images.data == "scenes" else 0.0
        return asked

    def choices(self, group: int) -> int:
        """Among how many images a message of a group of so many finds its own: a guess is right in 1 of them."""
        beside = self.loss.num_distractors if self.loss.distractors else 0
        return (group if self.loss.in_batch else 1) + beside

    @property
    def load_size(self) -> int:
        """Side of the images before views are cut, pixels."""
        asked = self.images.load_size
        return round(self.images.image_size * 8 / 7) if asked is None else asked
