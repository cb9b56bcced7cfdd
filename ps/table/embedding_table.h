// The rows of one table that this server owns, in memory.
//
// The table is cut into 64 stripes by bits of the mixed key. A stripe has a lock, an index
// (key_index.h) and rows in the table's memory (row_memory.h); it grows alone, so that no request
// waits for more than one stripe's growth. A request's keys come grouped by stripe (key_groups.h):
// each stripe is locked once, shared for reading, and its buckets and rows are prefetched a batch
// ahead.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "ps/optim/row_optimizer.h"
#include "ps/table/block_pool.h"
#include "ps/table/initializer.h"
#include "ps/table/key_groups.h"
#include "ps/table/key_index.h"
#include "ps/table/row_layout.h"
#include "ps/table/row_memory.h"
#include "ps/table/stripe_lock.h"

namespace cairn::proto {
class TableConfig;
}  // namespace cairn::proto

namespace cairn::ps {

// What an absent row reads as: its initial value, or zeros.
enum class AbsentValue { kInitial, kZero };

struct TableCounts {
  std::uint64_t rows = 0;
  std::uint64_t bytes = 0;  // of rows and index
  std::uint64_t pulled_rows = 0;
  std::uint64_t pulled_absent = 0;
  std::uint64_t pushed_rows = 0;
};

// Thread-safety: Pull, Push and Counts may run at once; the others exclude everything else (the
// caller sees to it). A row is never read half-updated.
class EmbeddingTable {
 public:
  // InvalidArgument for bad hyper-parameters, naming table and field.
  static Result<std::unique_ptr<EmbeddingTable>> Make(const proto::TableConfig& config,
                                                      std::uint64_t seed);
  ~EmbeddingTable();
  EmbeddingTable(const EmbeddingTable&) = delete;
  EmbeddingTable& operator=(const EmbeddingTable&) = delete;

  const std::string& name() const { return name_; }
  const RowLayout& layout() const { return layout_; }
  const RowOptimizer& optimizer() const { return *optimizer_; }
  // l2_rows: ALL.
  bool updates_all_rows() const { return updates_all_rows_; }

  // values[position * dim ...] = value of each key. Absent rows are not made.
  void Pull(const KeyGroups& keys, AbsentValue absent, float* values);

  // Applies the optimizer to each row with gradients[position * dim ...], making absent rows first.
  // Keys are different from each other and gradients finite. `step`, from 1 and another one for
  // each push, becomes the rows' last_step. With updates_all_rows() every other row that exists
  // takes an optimizer step as well, with the gradient l2 * value; each stripe changes as a whole,
  // and the result does not depend on the order of its rows.
  void Push(const KeyGroups& keys, const float* gradients, float learning_rate_scale,
            std::uint64_t step);

  // Adds or replaces rows by stored records: layout().RecordBytes() bytes at
  // records + position * layout().RecordBytes() for each key, of any alignment.
  void Load(const KeyGroups& keys, const std::byte* records, bool dirty);

  // visit(key, record) for each row, in no order. The record lives until the visitor returns.
  void ForEachRow(const std::function<void(std::uint64_t, const std::byte*)>& visit) const;
  // visit(key, row) for each row that changed since MarkAllClean, in no order. The row's number is
  // good for CopyRecord until rows are removed.
  void ForEachDirtyRow(const std::function<void(std::uint64_t, std::uint32_t)>& visit) const;
  // layout().RecordBytes() bytes.
  void CopyRecord(std::uint32_t row, std::byte* record) const;
  void PrefetchRecord(std::uint32_t row) const;
  void MarkAllClean();

  TableCounts Counts() const;

 private:
  struct Stripe;
  struct Fresh;

  EmbeddingTable(const proto::TableConfig& config, std::unique_ptr<RowOptimizer> optimizer,
                 std::unique_ptr<RowInitializer> initializer);
  // Returns the number of absent keys.
  std::size_t PullGroup(Stripe& stripe, std::span<const IndexedKey> group, AbsentValue absent,
                        float* values);
  void PushGroup(Stripe& stripe, std::span<const IndexedKey> group, const float* gradients,
                 float learning_rate_scale, std::uint64_t step);
  // Steps all rows of the stripe that push `step` did not name. Its lock is held.
  void StepOtherRows(Stripe& stripe, float learning_rate_scale, std::uint64_t step);
  void MakeAbsentRows(Stripe& stripe, std::span<const IndexedKey> keys, std::uint32_t* rows);
  void LoadGroup(Stripe& stripe, std::span<const IndexedKey> group, const std::byte* records,
                 bool dirty);
  void SetRecord(std::uint32_t row, const std::byte* record);
  float* ValueOf(std::uint32_t row) const { return reinterpret_cast<float*>(memory_.Value(row)); }
  std::uint32_t NewRow(Stripe& stripe, std::uint64_t key, std::uint32_t hash, bool dirty);

  const std::string name_;
  const RowLayout layout_;
  const float l2_;
  const bool updates_all_rows_;
  const std::vector<float> no_gradient_;  // [dim] zeros
  const std::unique_ptr<RowOptimizer> optimizer_;
  const std::unique_ptr<RowInitializer> initializer_;
  BlockPool index_memory_;
  RowMemory memory_;
  std::array<std::unique_ptr<Stripe>, kStripes> stripes_;
  std::atomic<std::uint64_t> pulled_rows_{0}, pulled_absent_{0}, pushed_rows_{0};
};

}  // namespace cairn::ps
