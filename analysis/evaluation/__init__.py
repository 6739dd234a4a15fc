"""Every metric on one recorded language: which apply, in what words, a row for each number."""
