// One table as it should be: a map from key to record, one row at a time.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "proto/config.pb.h"
#include "ps/optim/optimizers.h"
#include "ps/table/initializer.h"
#include "ps/table/row_layout.h"

namespace cairn::ps {

class RowModel {
 public:
  RowModel(const proto::TableConfig& config, std::uint64_t seed)
      : optimizer_(MakeOptimizer(config.optimizer()).value()),
        initializer_(MakeInitializer(config.initializer(), seed, TableSalt(config.name())).value()),
        layout_(config.dim(), optimizer_->StateSize(config.dim())),
        l2_(static_cast<float>(config.l2())) {}

  // What a pull that trains reads.
  std::vector<float> Value(std::uint64_t key) const {
    const auto found = rows_.find(key);
    if (found == rows_.end()) return InitialValue(key);
    const auto value = layout_.Value(Bytes(found->second));
    return {value.begin(), value.end()};
  }
  bool Has(std::uint64_t key) const { return rows_.contains(key); }

  void Push(std::uint64_t key, const float* gradient, float scale, std::uint64_t step) {
    auto [row, is_new] = rows_.try_emplace(key, layout_.RecordBytes() / sizeof(float), 0.0f);
    std::byte* const record = Bytes(row->second);
    if (is_new) {
      const std::vector<float> value = InitialValue(key);
      std::ranges::copy(value, layout_.Value(record).begin());
      optimizer_->InitState(layout_.State(record));
    }
    const RowMetadata metadata = NextMetadata(layout_.Metadata(record), step);
    layout_.SetMetadata(record, metadata);
    optimizer_->Apply({layout_.Value(record), layout_.State(record)}, {gradient, layout_.dim()},
                      {scale, l2_, metadata.version});
  }

  // Records as bytes, by key.
  std::map<std::uint64_t, std::vector<float>>& rows() { return rows_; }
  bool IsRecord(std::uint64_t key, const void* record, std::size_t bytes) const {
    const auto found = rows_.find(key);
    return found != rows_.end() && bytes == layout_.RecordBytes() &&
           std::memcmp(found->second.data(), record, bytes) == 0;
  }

 private:
  static std::byte* Bytes(std::vector<float>& record) {
    return reinterpret_cast<std::byte*>(record.data());
  }
  static const std::byte* Bytes(const std::vector<float>& record) {
    return reinterpret_cast<const std::byte*>(record.data());
  }
  std::vector<float> InitialValue(std::uint64_t key) const {
    std::vector<float> value(layout_.dim());
    float* row = value.data();
    initializer_->Fill({&key, 1}, layout_.dim(), &row);
    return value;
  }

  const std::unique_ptr<RowOptimizer> optimizer_;
  const std::unique_ptr<RowInitializer> initializer_;
  const RowLayout layout_;
  const float l2_;
  std::map<std::uint64_t, std::vector<float>> rows_;
};

}  // namespace cairn::ps
