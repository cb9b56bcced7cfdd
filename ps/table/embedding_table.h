// The rows of one table that this server owns, in memory.
//
// The table is cut into 64 stripes by bits of the mixed key. A stripe has a lock, an index
// (key_index.h) and rows in the table's memory (row_memory.h); it grows alone, so that no request
// waits for more than one stripe's growth. A request's keys come grouped by stripe (key_groups.h):
// each stripe is locked once, shared for reading, and its buckets and rows are prefetched a batch
// ahead.
//
// A table may be larger than its memory. Then rows that were not named for long lie in a store
// (cold_rows.h) and come back when a training pull or a push names them. The table knows only the
// rows in memory; a key that is not among them is looked for in the store before it is taken for
// absent. Rows leave in two steps (spill.h): WriteBack copies what is dirty while pushes go on, and
// Drop, which excludes everything else, forgets what is clean. So a row that is not in memory is
// always as the store has it.
//
// Values may be kept as 16-bit numbers. Then pulls decode them, and a push decodes a value, takes
// the optimizer's step in float32 and encodes the result, with random bits of the key and the
// push's number: replaying a push gives the same bits. A key without a row reads as its float32
// initial value, and its first step starts from that, so that no gradient is taken at another value
// than the one it is applied to.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "ps/optim/row_optimizer.h"
#include "ps/table/block_pool.h"
#include "ps/table/cold_rows.h"
#include "ps/table/eviction.h"
#include "ps/table/initializer.h"
#include "ps/table/key_groups.h"
#include "ps/table/key_index.h"
#include "ps/table/row_layout.h"
#include "ps/table/row_memory.h"
#include "ps/table/spill.h"
#include "ps/table/stripe_lock.h"
#include "ps/table/value_codec.h"

namespace cairn::proto {
class TableConfig;
}  // namespace cairn::proto

namespace cairn::ps {

class Admission;

// What an absent row reads as: its initial value, or zeros.
enum class AbsentValue { kInitial, kZero };

struct TableCounts {
  std::uint64_t rows = 0;           // in memory and in the store
  std::uint64_t resident_rows = 0;  // in memory
  std::uint64_t bytes = 0;          // of resident rows and index
  std::uint64_t pulled_rows = 0;
  std::uint64_t pulled_absent = 0;
  std::uint64_t pushed_rows = 0;
  std::uint64_t fetched_rows = 0;  // read from the store
  std::uint64_t spilled_rows = 0;  // that left memory for the store
  std::uint64_t evicted_age = 0;   // removed for good, by reason
  std::uint64_t evicted_count = 0;
  std::uint64_t evicted_norm = 0;
};

// Thread-safety: Pull, MakeResident, AddFetched, ReserveIndex, FindRefused, SaveAdmission, Push,
// WriteBack, SampleColdness and Counts may run at once; the others exclude everything else (the
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
  const EvictionRule& eviction() const { return eviction_; }

  // values[position * dim ...] = value of each key. Absent rows are not made. Rows from the store
  // come to memory, but not with kZero, which is for evaluation. Errors: of the store.
  Status Pull(const KeyGroups& keys, AbsentValue absent, float* values);

  // Brings the rows of `keys` that lie in the store to memory, where they stay until Drop. To be
  // called before Push. Errors: of the store.
  Status MakeResident(const KeyGroups& keys);

  // Adds rows as the store has them: layout().RecordBytes() bytes at
  // records + position * layout().RecordBytes() for each key, of any alignment. Keys are different
  // from each other. Rows that are in memory may be newer and stay as they are.
  // Not counted as fetched: no request named them.
  void AddFetched(const KeyGroups& keys, const std::byte* records);
  // Room in the index for about so many more rows, which it would else make in many small steps.
  void ReserveIndex(std::uint64_t rows);

  // Asks `admission` about the keys that have no row in memory, in push number `push`. Sets
  // (*refused)[position] of those it refuses; `refused` comes empty, and stays so when there are
  // none. Returns their number. To be called between MakeResident and Push.
  std::size_t FindRefused(const KeyGroups& keys, std::uint64_t push, Admission* admission,
                          std::vector<bool>* refused);
  // Admission::SaveStripe under the stripe's lock.
  void SaveAdmission(std::uint32_t stripe, const Admission& admission, std::uint64_t push,
                     std::string* out) const;

  // Applies the optimizer to each row with gradients[position * dim ...], making absent rows first.
  // Keys are different from each other and gradients finite. `step`, from 1 and another one for
  // each push, becomes the rows' last_step. With updates_all_rows() every other row that exists
  // takes an optimizer step as well, with the gradient l2 * value; each stripe changes as a whole,
  // and the result does not depend on the order of its rows.
  void Push(const KeyGroups& keys, const float* gradients, float learning_rate_scale,
            std::uint64_t step) {
    PushRows(keys, gradients, {learning_rate_scale, step, false});
  }
  // The same of a push that may have been applied to some of the rows already: those whose
  // last_step is `step` or later are left as they are. Pushes come in the order of their steps.
  void Replay(const KeyGroups& keys, const float* gradients, float learning_rate_scale,
              std::uint64_t step) {
    PushRows(keys, gradients, {learning_rate_scale, step, true});
  }

  // From now on rows may lie in `store`, which holds `rows` rows that are not in memory. Borrowed;
  // null: all rows are in memory.
  void SetStore(const ColdRows* store, std::int64_t rows);
  // More of them than were known.
  void AddColdRows(std::int64_t rows) { cold_rows_.fetch_add(rows, std::memory_order_relaxed); }

  // The coldness of about `count` rows in memory, drawn at random.
  void SampleColdness(std::size_t count, std::uint64_t now, std::uint64_t seed,
                      std::vector<float>* sample) const;
  // Visits stripe `stripe`: copies its dirty rows that the rule names (null: all dirty rows) to
  // `batch` and takes them for clean; `table` and `slots` make their keys. A row that came to
  // memory since the stripe's last Drop, and was not pushed since, is left alone by WriteBack and
  // Drop: else it would leave between its pull and its push. Returns the bytes of memory that Drop
  // would free.
  std::uint64_t WriteBack(std::uint32_t stripe, const SpillRule* rule, std::uint16_t table,
                          const SlotRange& slots, RowBatch* batch);
  // After the batch could not be written.
  void MarkDirty(const KeyGroups& keys);
  void MarkDirty(std::uint64_t key);
  // Forgets the clean rows of the stripe that the rule names. Returns the bytes freed. When all
  // stripes have been visited, rows in use have about as many pages as they need. No other call
  // may know a row's number.
  std::uint64_t Drop(std::uint32_t stripe, const SpillRule& rule);

  // Rows may lie in the store alone.
  bool may_have_cold_rows() const { return store_ != nullptr; }
  // Visits the keys of the stripe's rows in memory that are to be removed for good, and some twice
  // when the stripe grows meanwhile. The visitor must not call the table.
  void FindEvictable(std::uint32_t stripe, const EvictionTime& time,
                     const std::function<void(std::uint64_t, EvictionReason)>& visit) const;
  // Of a record in the store, aligned to 2 bytes.
  EvictionReason ReasonForRecord(const std::byte* record, const EvictionTime& time) const;
  // Of a key's row in memory; empty if it has none there.
  std::optional<EvictionReason> ReasonForResident(std::uint64_t key,
                                                  const EvictionTime& time) const;
  // Forgets a key's row, in memory or not, after its record was removed from the store.
  void Evict(std::uint64_t key, EvictionReason reason);

  // Bytes of rows in memory and of the index, as of now.
  std::int64_t memory_bytes() const { return memory_bytes_.load(std::memory_order_relaxed); }
  // Bytes of the pages that these lie in: what the process pays for them. Drop returns pages.
  std::int64_t reserved_bytes() const;
  // Those of them that no row could use: gaps between indexes, and the rest of the last page.
  std::int64_t unusable_bytes() const;
  // Beyond that the free rows between those in use are one in so many of them, once each stripe has
  // been visited by Drop.
  static constexpr std::uint32_t kSpareRows = 32;

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
  struct InitialValues;

  EmbeddingTable(const proto::TableConfig& config, std::uint64_t seed,
                 std::unique_ptr<RowOptimizer> optimizer,
                 std::unique_ptr<RowInitializer> initializer);
  // Absent keys are appended to `misses` where that is given, and filled otherwise. Returns their
  // number.
  // kCoded here and below: values are 16-bit.
  template <bool kCoded>
  std::size_t PullGroup(Stripe& stripe, std::span<const IndexedKey> group, AbsentValue absent,
                        float* values, std::vector<IndexedKey>* misses);
  Status PullCold(std::span<const IndexedKey> misses, AbsentValue absent, float* values);
  Status PullSomeCold(std::span<const IndexedKey> misses, AbsentValue absent, float* values);
  void FillAbsent(std::span<const IndexedKey> keys, AbsentValue absent, float* values) const;
  // Takes the keys that have a row off the list. The stripe's lock is held.
  void KeepAbsent(const Stripe& stripe, std::vector<IndexedKey>* keys) const;
  // Reads the records of those keys that have one: indices in `keys`, ascending, and the records
  // one behind the other.
  Status Fetch(std::span<const IndexedKey> keys, std::vector<std::uint32_t>* found,
               std::vector<std::byte>* records);
  // Adds fetched rows that are still not in memory.
  void Promote(std::span<const IndexedKey> keys, std::span<const std::uint32_t> found,
               const std::byte* records);
  // Keeps memory_bytes_ true; to be called with what it returned before the stripe changed.
  std::int64_t MeasureStripe(const Stripe& stripe) const;
  auto PrefetchMetadata() const {
    return [this](std::uint32_t row) {
      __builtin_prefetch(memory_.Rest(row) + layout_.RestBytes() - sizeof(RowMetadata));
    };
  }
  bool IsCold(std::uint32_t row, const SpillRule& rule) const {
    return Coldness(layout_.MetadataOfRest(memory_.Rest(row)), rule.now) >= rule.threshold;
  }
  struct PushStep {
    float learning_rate_scale;
    std::uint64_t number;
    bool is_replay;
  };
  void PushRows(const KeyGroups& keys, const float* gradients, const PushStep& step);
  template <bool kCoded>
  void PushGroup(Stripe& stripe, std::span<const IndexedKey> group, const float* gradients,
                 const PushStep& step);
  // Steps all rows of the stripe that the push did not name. Its lock is held.
  template <bool kCoded>
  void StepOtherRows(Stripe& stripe, const PushStep& step);
  // Starts from `initial` where that is not null.
  template <bool kCoded>
  void StepRow(std::uint64_t key, std::uint32_t row, const float* initial, const float* gradient,
               const PushStep& step, std::uint32_t version);
  template <bool kCoded>
  void MakeAbsentRows(Stripe& stripe, std::span<const IndexedKey> keys, std::uint32_t* rows,
                      InitialValues* initial);
  void LoadGroup(Stripe& stripe, std::span<const IndexedKey> group, const std::byte* records,
                 bool dirty);
  void SetRecord(std::uint32_t row, const std::byte* record);
  void CopyRow(std::uint32_t from, std::uint32_t to);
  EvictionReason ReasonFor(const std::byte* value, const RowMetadata& metadata,
                           const EvictionTime& time) const;
  EvictionReason ReasonForRow(std::uint32_t row, const EvictionTime& time) const;
  std::uint16_t* CodesOf(std::uint32_t row) const {
    return reinterpret_cast<std::uint16_t*>(memory_.Value(row));
  }
  float* ValueOf(std::uint32_t row) const { return reinterpret_cast<float*>(memory_.Value(row)); }
  std::uint32_t NewRow(Stripe& stripe, std::uint64_t key, std::uint32_t hash, bool dirty);

  const std::string name_;
  const RowLayout layout_;
  const std::optional<ValueCodec> codec_;  // of 16-bit values
  const float l2_;
  const EvictionRule eviction_;
  const bool updates_all_rows_;
  const std::vector<float> no_gradient_;  // [dim] zeros
  const std::unique_ptr<RowOptimizer> optimizer_;
  const std::unique_ptr<RowInitializer> initializer_;
  BlockPool index_memory_;
  RowMemory memory_;
  std::array<std::unique_ptr<Stripe>, kStripes> stripes_;
  const ColdRows* store_ = nullptr;
  std::atomic<std::int64_t> cold_rows_{0};  // in the store and not in memory
  std::atomic<std::int64_t> memory_bytes_{0};
  std::atomic<std::uint64_t> pulled_rows_{0}, pulled_absent_{0}, pushed_rows_{0};
  std::atomic<std::uint64_t> fetched_rows_{0}, spilled_rows_{0};
  std::array<std::atomic<std::uint64_t>, kEvictionReasons> evicted_{};
};

}  // namespace cairn::ps
