// A case of the oracle: a model's job, one batch, initial values, and what an independent
// implementation makes of them. tests/oracle/oracle.py describes the files of tests/oracle/golden.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "proto/config.pb.h"
#include "worker/data/batch.h"
#include "worker/models/model.h"

namespace cairn::worker {

struct GoldenArray {
  std::vector<std::uint32_t> dims;
  std::vector<double> values;  // as many as dims say
};

class GoldenCase {
 public:
  // InvalidArgument naming file and line.
  static Result<GoldenCase> Read(const std::string& path);

  const proto::ModelConfig& model() const { return model_; }
  const ModelContext& context() const { return context_; }
  int steps() const { return steps_; }
  const std::map<std::string, GoldenArray>& arrays() const { return arrays_; }
  // Null if there is none of that name.
  const GoldenArray* Find(const std::string& name) const;
  // Number of arrays "table.<t>".
  int tables() const;
  // Its keys stand for the rows of the tables, all of them.
  Batch MakeBatch() const;

 private:
  Status ReadLine(const std::string& line);

  proto::ModelConfig model_;
  ModelContext context_;
  std::uint32_t rows_ = 0;
  int steps_ = 0;
  std::map<std::string, GoldenArray> arrays_;
};

// The golden files, sorted, as "name" of "<name>.txt". Empty if the folder is missing.
std::vector<std::string> GoldenNames();
// Path of the file of that name.
std::string GoldenPath(const std::string& name);

}  // namespace cairn::worker
