// One step's input between the stages reader -> features -> model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace cairn::worker {

// What the model must know of one input, in job order. Built once from the effective job.
struct FieldSpec {
  enum class Kind { kCategorical, kNumeric, kSequence };
  enum class Pooling { kMean, kSum, kHistory };
  std::string name;
  Kind kind = Kind::kCategorical;
  int field = -1;         // index into Batch::fields
  int table = -1;         // index into the job's tables; -1 for a numeric field
  std::uint32_t dim = 0;  // of the table; for a numeric field, of its learned vector
  Pooling pooling = Pooling::kMean;
  std::uint32_t max_length = 0;  // kHistory: T, at least 1
  int target = -1;               // kHistory: index of the FieldSpec that it is a history of, or -1
  bool linear = false;           // a first-order weight (dim 1), not an input of the model proper
  std::optional<double> density = std::nullopt;  // FeatureConfig.density
  double numeric_stddev = 0;  // of the learned vector's initial values; 0: see ops/embedding.h
  bool IsHistory() const { return kind == Kind::kSequence && pooling == Pooling::kHistory; }
};

// Where a batch came from, for error messages.
struct BatchOrigin {
  std::string file;              // of the first row
  std::uint64_t first_line = 0;  // 1-based line of the first row in that file
};

// Values of one field for the rows of a batch.
struct FieldColumn {
  // Categorical: [rows]; sequence: [offsets.back()]. Position in the unique keys of the field's
  // table.
  std::vector<std::uint32_t> index;
  // Sequence only: values of row r are index[offsets[r]] .. index[offsets[r + 1] - 1]; [rows + 1].
  std::vector<std::uint32_t> offsets;
  // Numeric only: [rows].
  std::vector<float> number;
};

struct Batch {
  std::uint32_t rows = 0;
  std::vector<float> labels;          // [rows], 0 or 1
  std::vector<std::uint64_t> groups;  // [rows], hash of data.group's value; empty without one
  std::vector<FieldColumn> fields;    // [fields], in job order
  std::vector<std::vector<std::uint64_t>>
      unique_keys;  // [tables][unique keys of the batch], in order of first sight
  BatchOrigin origin;
};

}  // namespace cairn::worker
