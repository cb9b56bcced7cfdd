// Click data for benchmarks: ids of each field drawn from a Zipf law, labels at random.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "worker/data/batch.h"

namespace cairn::bench {

struct ClickShape {
  std::uint32_t fields = 39;
  std::uint32_t ids = 1'000'000;  // of all fields together; field f has ids / fields of them
  std::uint32_t rows = 4096;
  std::uint32_t batches = 8;
  double zipf = 1.05;
};

// [batches][rows][fields] ids, each field's in its own range of [0, ids); [batches][rows] labels.
struct ClickData {
  ClickShape shape;
  std::vector<std::uint32_t> ids;
  std::vector<float> labels;
};

ClickData MakeClicks(const ClickShape& shape, std::uint64_t seed);

// Little-endian: fields, ids, rows, batches (u32), then all ids (u32), then all labels (f32).
Status WriteClicks(const ClickData& data, const std::string& path);

// Numbers the distinct ids of batch `index` in order of first sight, all in table 0.
class BatchMaker {
 public:
  explicit BatchMaker(const ClickData& data);
  void Fill(std::uint32_t index, worker::Batch& batch);

 private:
  const ClickData& data_;
  std::vector<std::uint32_t> stamp_, number_;  // of each id
  std::uint32_t round_ = 0;
};

}  // namespace cairn::bench
