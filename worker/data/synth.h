// Writes synthetic click data as CSV files, any number of rows in constant memory.
//
//   OUT/train.csv             or train-00000.csv, ... with several shards; ".gz" behind with gzip
//   OUT/valid.csv, test.csv   left out if they have no rows
//   OUT/truth.txt             the settings and what a perfect model reaches on the test set
//
// Header: label,I1..I13,C1..C26[,hist]. Missing values are empty; categories are 8 hex digits;
// hist holds values of C1, the target item, with '^' between them. truth.txt has lines
// "name: value" and is written last, when everything else is in place.
#pragma once

#include <cstdint>
#include <string>

#include "common/base/status.h"
#include "worker/data/synth_truth.h"

namespace cairn::worker {

struct SynthConfig {
  SynthTruthConfig truth;
  std::uint64_t rows = 500000;
  std::uint64_t valid_rows = 30000;
  std::uint64_t test_rows = 50000;
  std::uint32_t shards = 1;  // of the training rows, 1 to 99999
  bool gzip = false;
  std::string out;  // folder, made if it is not there
};

struct SynthReport {
  std::string truth;     // content of truth.txt
  bool written = false;  // false: the folder held the very same data already
};

// Memory: one buffer, the truth's tables, and 8 bytes per test row.
// InvalidArgument: a setting out of range. AlreadyExists: the folder holds other data under these
// names; nothing is overwritten. Unavailable: the disk is full or not writable.
Result<SynthReport> WriteSynth(const SynthConfig& config);

// The value of "name: value" in the text of a truth.txt; NotFound.
Result<double> TruthValue(const std::string& truth, const std::string& name);

}  // namespace cairn::worker
