// The chunks of dense tensors that this server owns, with their optimizer state.
//
// A tensor lives in chunks of 16384 floats (the last one is shorter); chunk c of tensor t belongs
// to the slot of DenseChunkKey(t, c). Chunks get values from Init or Load. Chunks that were loaded
// before workers registered the layout wait under their names, and are checked against it then.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "ps/dense/dense_format.h"
#include "ps/optim/row_optimizer.h"
#include "ps/server/ps_core.h"
#include "ps/table/key_groups.h"
#include "ps/table/pages.h"
#include "ps/table/stripe_lock.h"

namespace cairn::proto {
class DenseConfig;
class DenseTensorEntry;
}  // namespace cairn::proto

namespace cairn::ps {

// Thread-safety: Register, Init, Pull, Check and Apply may be called at once. Load, Expect,
// ForEachDirty and MarkAllClean exclude everything else (the caller sees to it). A chunk is never
// read half-updated.
class DenseParameters {
 public:
  // InvalidArgument for bad hyper-parameters.
  static Result<std::unique_ptr<DenseParameters>> Make(const proto::DenseConfig& config,
                                                       const SlotRange& slots);
  ~DenseParameters();

  // As PsCore::RegisterDense; also FailedPrecondition when loaded chunks contradict the layout.
  Status Register(std::span<const DenseTensorSpec> layout) EXCLUDES(lock_);
  std::vector<DenseTensorSpec> Layout() const EXCLUDES(lock_);

  // As the methods of PsCore.
  Status Init(std::span<const DenseChunkUpdate> chunks) EXCLUDES(lock_);
  Status Pull(std::span<const DenseChunkRead> chunks) EXCLUDES(lock_);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> OwnedChunks() const EXCLUDES(lock_);

  // Whether Apply may be called: chunks registered, ours, different, with values, of the right size
  // and finite. Nothing that is checked can change before the Apply.
  Status Check(std::span<const DenseChunkUpdate> updates) const EXCLUDES(lock_);
  void Apply(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
             std::uint64_t step) EXCLUDES(lock_);
  // The same, but leaves chunks alone whose last step is `step` or later.
  void Replay(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
              std::uint64_t step) EXCLUDES(lock_);

  // What a checkpoint says of its tensors; Register compares with it.
  void Expect(std::span<const proto::DenseTensorEntry* const> tensors) EXCLUDES(lock_);
  // Adds a stored chunk. DataLoss if it is there already.
  Status Load(const DenseKey& key, const DenseRecord& record, bool dirty) EXCLUDES(lock_);

  // visit(key, record) in the order of keys.
  void ForEachDirty(
      const std::function<void(const std::string& key, const std::string& record)>& visit) const
      EXCLUDES(lock_);
  void MarkAllClean() EXCLUDES(lock_);

  // Registered tensors in order; before registration, those of the checkpoint.
  std::vector<proto::DenseTensorEntry> Describe() const EXCLUDES(lock_);
  std::uint64_t ChunkCount() const EXCLUDES(lock_);
  std::uint64_t FloatCount() const EXCLUDES(lock_);  // values, without state
  std::uint64_t LastStep() const EXCLUDES(lock_);    // largest of all chunks

 private:
  struct Chunk;
  struct Tensor;
  void ApplyTo(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
               std::uint64_t step, bool is_replay) EXCLUDES(lock_);

  DenseParameters(std::unique_ptr<RowOptimizer> optimizer, float l2, const SlotRange& slots);

  std::size_t StateFloats(const DenseTensorSpec& spec, std::size_t floats) const;
  Status CheckLoaded(const DenseTensorSpec& spec) const REQUIRES(lock_);
  // The chunk, or why there is none; NotFound for one without values.
  Result<Chunk*> Find(std::uint32_t tensor, std::uint32_t chunk, std::size_t floats) const
      REQUIRES_SHARED(lock_);
  // Like Find, but a chunk without values is nullptr.
  Result<Chunk*> Locate(std::uint32_t tensor, std::uint32_t chunk, std::size_t floats) const
      REQUIRES_SHARED(lock_);
  std::string NameOf(std::uint32_t tensor, std::uint32_t chunk) const REQUIRES_SHARED(lock_);

  const std::unique_ptr<RowOptimizer> optimizer_;
  const float l2_;
  const SlotRange slots_;
  mutable StripeLock lock_;  // of the maps; each chunk has its own for its floats
  std::vector<Tensor> tensors_ GUARDED_BY(lock_);  // in layout order; empty before registration
  std::map<std::pair<std::string, std::uint32_t>, std::unique_ptr<Chunk>> chunks_ GUARDED_BY(lock_);
  std::vector<proto::DenseTensorEntry> expected_ GUARDED_BY(lock_);
};

}  // namespace cairn::ps
