// One row of synthetic data as a line of CSV.
#pragma once

#include <string>

#include "worker/data/synth_truth.h"

namespace cairn::worker {

// The header line, with its end of line.
std::string SynthHeader(bool has_history);

// Appends the row's line.
void AppendSynthRow(const SynthRow& row, bool has_history, std::string* out);

}  // namespace cairn::worker
