#include "tests/bench/train/click_batches.h"

#include <algorithm>
#include <cmath>
#include <fstream>

#include "common/math/rng.h"

namespace cairn::bench {

ClickData MakeClicks(const ClickShape& shape, std::uint64_t seed) {
  ClickData data{.shape = shape, .ids = {}, .labels = {}};
  const std::uint32_t per_field = shape.ids / shape.fields;
  std::vector<double> cumulative(per_field);
  double sum = 0;
  for (std::uint32_t k = 0; k < per_field; ++k)
    cumulative[k] = sum += std::pow(k + 1.0, -shape.zipf);
  Rng rng(seed, 0);
  const std::size_t rows = std::size_t{shape.batches} * shape.rows;
  data.ids.resize(rows * shape.fields);
  for (std::size_t i = 0; i < data.ids.size(); ++i) {
    const auto at =
        std::lower_bound(cumulative.begin(), cumulative.end() - 1, rng.NextDouble() * sum);
    data.ids[i] =
        static_cast<std::uint32_t>(i % shape.fields * per_field + (at - cumulative.begin()));
  }
  for (std::size_t r = 0; r < rows; ++r) data.labels.push_back(rng.NextBelow(4) == 0 ? 1.f : 0.f);
  return data;
}

Status WriteClicks(const ClickData& data, const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const std::uint32_t head[] = {data.shape.fields, data.shape.ids, data.shape.rows,
                                data.shape.batches};
  file.write(reinterpret_cast<const char*>(head), sizeof head);
  file.write(reinterpret_cast<const char*>(data.ids.data()),
             static_cast<std::streamsize>(data.ids.size() * sizeof data.ids[0]));
  file.write(reinterpret_cast<const char*>(data.labels.data()),
             static_cast<std::streamsize>(data.labels.size() * sizeof data.labels[0]));
  file.close();
  return file ? OkStatus() : absl::UnavailableError(StrCat("cannot write ", path));
}

BatchMaker::BatchMaker(const ClickData& data)
    : data_(data), stamp_(data.shape.ids, 0), number_(data.shape.ids) {}

void BatchMaker::Fill(std::uint32_t index, worker::Batch& batch) {
  const auto& [fields, ids, rows, batches, zipf] = data_.shape;
  ++round_;
  batch.rows = rows;
  const float* labels = data_.labels.data() + std::size_t{index} * rows;
  batch.labels.assign(labels, labels + rows);
  batch.fields.resize(fields);
  batch.unique_keys.resize(1);
  batch.unique_keys[0].clear();
  for (auto& field : batch.fields) field.index.resize(rows);
  const std::uint32_t* id = data_.ids.data() + std::size_t{index} * rows * fields;
  for (std::uint32_t r = 0; r < rows; ++r)
    for (std::uint32_t f = 0; f < fields; ++f, ++id) {
      if (stamp_[*id] != round_) {
        stamp_[*id] = round_;
        number_[*id] = static_cast<std::uint32_t>(batch.unique_keys[0].size());
        batch.unique_keys[0].push_back(*id);
      }
      batch.fields[f].index[r] = number_[*id];
    }
}

}  // namespace cairn::bench
