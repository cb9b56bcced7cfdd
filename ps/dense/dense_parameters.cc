#include "ps/dense/dense_parameters.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <set>

#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "ps/optim/finite.h"
#include "ps/optim/optimizers.h"

namespace cairn::ps {
namespace {

constexpr std::string_view kMovingAverage = "moving_average";

std::uint64_t FloatsOf(const DenseTensorSpec& spec) {
  std::uint64_t floats = 1;
  for (const std::uint32_t dim : spec.dims) floats *= dim;
  return floats;
}

std::uint32_t ChunksOf(std::uint64_t floats) {
  return static_cast<std::uint32_t>((floats + kChunkFloats - 1) / kChunkFloats);
}

std::size_t FloatsOfChunk(std::uint64_t floats, std::uint32_t chunk) {
  return static_cast<std::size_t>(
      std::min(kChunkFloats, floats - std::uint64_t{chunk} * kChunkFloats));
}

std::string ShapeText(std::span<const std::uint32_t> dims) {
  std::string out = "[";
  for (const std::uint32_t dim : dims) StrAppend(out, out.size() > 1 ? ", " : "", dim);
  return out + "]";
}

bool SameSpec(const DenseTensorSpec& a, const DenseTensorSpec& b) {
  return a.name == b.name && a.dims == b.dims && a.is_weight == b.is_weight &&
         a.is_statistic == b.is_statistic && a.momentum == b.momentum;
}

Status CheckLayout(std::span<const DenseTensorSpec> layout) {
  std::set<std::string_view> names;
  for (const DenseTensorSpec& spec : layout) {
    if (spec.name.empty() || !names.insert(spec.name).second) {
      return absl::InvalidArgumentError(
          StrCat("dense tensor name \"", spec.name, "\" is empty or used twice"));
    }
    double floats = 1;
    for (const std::uint32_t dim : spec.dims) floats *= dim;
    if (floats < 1 || floats > 0x1p40) {
      return absl::InvalidArgumentError(
          StrCat("dense tensor ", spec.name, " has shape ", ShapeText(spec.dims)));
    }
    if (spec.is_statistic && !(spec.momentum >= 0 && spec.momentum <= 1)) {
      return absl::InvalidArgumentError(StrCat("dense tensor ", spec.name, " has momentum ",
                                               spec.momentum, ", must be in [0, 1]"));
    }
  }
  return OkStatus();
}

}  // namespace

// One chunk that has values.
struct DenseParameters::Chunk {
  Chunk(std::uint32_t slot_of, const RowLayout& layout_of)
      : slot(slot_of),
        layout(layout_of),
        memory(layout_of.RecordBytes(), Pages::Huge::kNo),
        body(memory.data()) {}

  const std::uint32_t slot;
  const RowLayout layout;
  const Pages memory;
  mutable StripeLock lock;
  std::byte* const body PT_GUARDED_BY(lock);
  bool dirty GUARDED_BY(lock) = true;
};

struct DenseParameters::Tensor {
  DenseTensorSpec spec;
  std::uint64_t floats = 0;
  std::vector<std::uint32_t> slots;  // of each chunk
  std::vector<Chunk*> chunks;        // null: not ours, or no values yet
};

Result<std::unique_ptr<DenseParameters>> DenseParameters::Make(const proto::DenseConfig& config,
                                                               const SlotRange& slots) {
  ASSIGN_OR_RETURN(auto optimizer, MakeOptimizer(config.optimizer()), "dense.optimizer");
  const auto l2 = static_cast<float>(config.l2());
  if (!(l2 >= 0 && l2 <= std::numeric_limits<float>::max())) {
    return absl::InvalidArgumentError(
        StrCat("dense.l2 is ", config.l2(), ", must be finite and not negative"));
  }
  return std::unique_ptr<DenseParameters>(new DenseParameters(std::move(optimizer), l2, slots));
}

DenseParameters::DenseParameters(std::unique_ptr<RowOptimizer> optimizer, float l2,
                                 const SlotRange& slots)
    : optimizer_(std::move(optimizer)), l2_(l2), slots_(slots) {}

DenseParameters::~DenseParameters() = default;

std::size_t DenseParameters::StateFloats(const DenseTensorSpec& spec, std::size_t floats) const {
  return spec.is_statistic ? 0 : optimizer_->StateSize(floats);
}

Status DenseParameters::Register(std::span<const DenseTensorSpec> layout) {
  RETURN_IF_ERROR(CheckLayout(layout));
  WriteLock lock(lock_);
  if (!tensors_.empty()) {
    const bool same =
        std::equal(layout.begin(), layout.end(), tensors_.begin(), tensors_.end(),
                   [](const DenseTensorSpec& a, const Tensor& b) { return SameSpec(a, b.spec); });
    if (same) return OkStatus();
    return absl::FailedPreconditionError(
        "another layout of dense tensors is registered: workers disagree about the model");
  }
  for (const DenseTensorSpec& spec : layout) RETURN_IF_ERROR(CheckLoaded(spec));
  for (const auto& [place, chunk] : chunks_) {
    const std::string& name = place.first;
    if (std::ranges::none_of(layout, [&](const auto& spec) { return spec.name == name; })) {
      return absl::FailedPreconditionError(
          StrCat("the checkpoint has a dense tensor ", name, " that the model lacks"));
    }
  }
  for (const DenseTensorSpec& spec : layout) {
    Tensor tensor{.spec = spec, .floats = FloatsOf(spec), .slots = {}, .chunks = {}};
    for (std::uint32_t c = 0; c < ChunksOf(tensor.floats); ++c) {
      tensor.slots.push_back(slots_.SlotOfMixed(MixedKey(DenseChunkKey(spec.name, c))));
      const auto found = chunks_.find({spec.name, c});
      tensor.chunks.push_back(found == chunks_.end() ? nullptr : found->second.get());
    }
    tensors_.push_back(std::move(tensor));
  }
  return OkStatus();
}

// Whether what a checkpoint says of a tensor, and its chunks that are loaded, fit the model's.
Status DenseParameters::CheckLoaded(const DenseTensorSpec& spec) const {
  const std::string_view optimizer = spec.is_statistic ? kMovingAverage : optimizer_->name();
  for (const proto::DenseTensorEntry& entry : expected_) {
    if (entry.name() != spec.name) continue;
    const std::vector<std::uint32_t> dims(entry.dim().begin(), entry.dim().end());
    if (dims == spec.dims && entry.optimizer() == optimizer) continue;
    return absl::FailedPreconditionError(
        StrCat("dense tensor ", spec.name, ": the checkpoint has ", ShapeText(dims), " with ",
               entry.optimizer(), ", the model has ", ShapeText(spec.dims), " with ", optimizer));
  }
  const std::uint64_t floats = FloatsOf(spec);
  for (auto it = chunks_.lower_bound({spec.name, 0});
       it != chunks_.end() && it->first.first == spec.name; ++it) {
    const std::uint32_t chunk = it->first.second;
    const RowLayout& layout = it->second->layout;
    const std::size_t wanted = chunk < ChunksOf(floats) ? FloatsOfChunk(floats, chunk) : 0;
    if (layout.dim() == wanted && layout.state_floats() == StateFloats(spec, wanted)) continue;
    return absl::FailedPreconditionError(
        StrCat("dense tensor ", spec.name, ", chunk ", chunk, ": the checkpoint has ", layout.dim(),
               " floats and ", layout.state_floats(), " of state, the model has ", wanted, " and ",
               wanted == 0 ? 0 : StateFloats(spec, wanted)));
  }
  return OkStatus();
}

std::vector<DenseTensorSpec> DenseParameters::Layout() const {
  ReadLock lock(lock_);
  std::vector<DenseTensorSpec> layout;
  for (const Tensor& tensor : tensors_) layout.push_back(tensor.spec);
  return layout;
}

std::string DenseParameters::NameOf(std::uint32_t tensor, std::uint32_t chunk) const {
  return StrCat("dense tensor ", tensors_[tensor].spec.name, ", chunk ", chunk);
}

Result<DenseParameters::Chunk*> DenseParameters::Locate(std::uint32_t tensor, std::uint32_t chunk,
                                                        std::size_t floats) const {
  if (tensors_.empty()) {
    return absl::FailedPreconditionError("no dense tensors are registered");
  }
  if (tensor >= tensors_.size()) {
    return absl::InvalidArgumentError(
        StrCat("dense tensor ", tensor, " of ", tensors_.size(), " does not exist"));
  }
  const Tensor& t = tensors_[tensor];
  if (chunk >= t.chunks.size()) {
    return absl::InvalidArgumentError(
        StrCat(NameOf(tensor, chunk), " of ", t.chunks.size(), " does not exist"));
  }
  if (t.slots[chunk] - slots_.first >= slots_.count) {
    return absl::InvalidArgumentError(
        StrCat(NameOf(tensor, chunk), " is in slot ", t.slots[chunk], ", not of this server"));
  }
  if (floats != FloatsOfChunk(t.floats, chunk)) {
    return absl::InvalidArgumentError(StrCat(
        NameOf(tensor, chunk), " has ", FloatsOfChunk(t.floats, chunk), " floats, not ", floats));
  }
  return t.chunks[chunk];
}

Result<DenseParameters::Chunk*> DenseParameters::Find(std::uint32_t tensor, std::uint32_t chunk,
                                                      std::size_t floats) const {
  ASSIGN_OR_RETURN(Chunk* const found, Locate(tensor, chunk, floats));
  if (found == nullptr) return absl::NotFoundError(StrCat(NameOf(tensor, chunk), " has no values"));
  return found;
}

Status DenseParameters::Init(std::span<const DenseChunkUpdate> chunks) {
  WriteLock lock(lock_);
  for (const DenseChunkUpdate& update : chunks) {
    RETURN_IF_ERROR(Locate(update.tensor, update.chunk, update.gradient.size()).status());
    if (FirstNonFinite(update.gradient).has_value()) {
      return absl::InvalidArgumentError(
          StrCat(NameOf(update.tensor, update.chunk), " has a non-finite initial value"));
    }
  }
  for (const DenseChunkUpdate& update : chunks) {
    Tensor& tensor = tensors_[update.tensor];
    if (tensor.chunks[update.chunk] != nullptr) continue;
    const std::size_t floats = update.gradient.size();
    const RowLayout layout(floats, StateFloats(tensor.spec, floats));
    auto chunk = std::make_unique<Chunk>(tensor.slots[update.chunk], layout);
    {
      WriteLock chunk_lock(chunk->lock);
      std::ranges::copy(update.gradient, layout.Value(chunk->body).begin());
      if (!tensor.spec.is_statistic) optimizer_->InitState(layout.State(chunk->body));
    }
    tensor.chunks[update.chunk] = chunk.get();
    chunks_.emplace(std::pair(tensor.spec.name, update.chunk), std::move(chunk));
  }
  return OkStatus();
}

Status DenseParameters::Pull(std::span<const DenseChunkRead> chunks) {
  ReadLock lock(lock_);
  for (const DenseChunkRead& read : chunks) {
    RETURN_IF_ERROR(Find(read.tensor, read.chunk, read.values.size()).status());
  }
  for (const DenseChunkRead& read : chunks) {
    const Chunk& chunk = *tensors_[read.tensor].chunks[read.chunk];
    ReadLock chunk_lock(chunk.lock);
    std::ranges::copy(chunk.layout.Value(static_cast<const std::byte*>(chunk.body)),
                      read.values.begin());
  }
  return OkStatus();
}

std::vector<std::pair<std::uint32_t, std::uint32_t>> DenseParameters::OwnedChunks() const {
  ReadLock lock(lock_);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> owned;
  for (std::uint32_t t = 0; t < tensors_.size(); ++t) {
    for (std::uint32_t c = 0; c < tensors_[t].slots.size(); ++c) {
      if (tensors_[t].slots[c] - slots_.first < slots_.count) owned.emplace_back(t, c);
    }
  }
  return owned;
}

Status DenseParameters::Check(std::span<const DenseChunkUpdate> updates) const {
  ReadLock lock(lock_);
  std::vector<std::pair<std::uint32_t, std::uint32_t>> named;
  for (const DenseChunkUpdate& update : updates) {
    RETURN_IF_ERROR(Find(update.tensor, update.chunk, update.gradient.size()).status());
    if (const auto at = FirstNonFinite(update.gradient)) {
      return absl::InvalidArgumentError(StrCat(NameOf(update.tensor, update.chunk),
                                               ": gradient of element ", *at, " is ",
                                               update.gradient[*at]));
    }
    named.emplace_back(update.tensor, update.chunk);
  }
  std::ranges::sort(named);
  if (const auto twice = std::ranges::adjacent_find(named); twice != named.end()) {
    return absl::InvalidArgumentError(
        StrCat(NameOf(twice->first, twice->second), " occurs twice in one push"));
  }
  return OkStatus();
}

void DenseParameters::Apply(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
                            std::uint64_t step) {
  ApplyTo(updates, learning_rate_scale, step, /*is_replay=*/false);
}

void DenseParameters::Replay(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
                             std::uint64_t step) {
  ApplyTo(updates, learning_rate_scale, step, /*is_replay=*/true);
}

void DenseParameters::ApplyTo(std::span<const DenseChunkUpdate> updates, float learning_rate_scale,
                              std::uint64_t step, bool is_replay) {
  ReadLock lock(lock_);
  for (const DenseChunkUpdate& update : updates) {
    const Tensor& tensor = tensors_[update.tensor];
    Chunk& chunk = *tensor.chunks[update.chunk];
    WriteLock chunk_lock(chunk.lock);
    const RowLayout& layout = chunk.layout;
    const RowMetadata before = layout.Metadata(chunk.body);
    if (is_replay && before.last_step >= step) continue;
    const RowMetadata metadata = NextMetadata(before, step);
    layout.SetMetadata(chunk.body, metadata);
    chunk.dirty = true;
    const std::span<float> value = layout.Value(chunk.body);
    if (tensor.spec.is_statistic) {
      const float momentum = tensor.spec.momentum;
      for (std::size_t i = 0; i < value.size(); ++i) {
        value[i] += momentum * (update.gradient[i] - value[i]);
      }
    } else {
      optimizer_->Apply({value, layout.State(chunk.body)}, update.gradient,
                        {learning_rate_scale, tensor.spec.is_weight ? l2_ : 0, metadata.version});
    }
  }
}

void DenseParameters::Expect(std::span<const proto::DenseTensorEntry* const> tensors) {
  WriteLock lock(lock_);
  expected_.clear();
  for (const proto::DenseTensorEntry* entry : tensors) expected_.push_back(*entry);
}

Status DenseParameters::Load(const DenseKey& key, const DenseRecord& record, bool dirty) {
  WriteLock lock(lock_);
  const std::uint32_t slot = slots_.SlotOfMixed(MixedKey(DenseChunkKey(key.tensor, key.chunk)));
  auto chunk = std::make_unique<Chunk>(slot, record.layout);
  {
    WriteLock chunk_lock(chunk->lock);
    std::memcpy(chunk->body, record.body.data(), record.body.size());
    chunk->dirty = dirty;
  }
  if (!chunks_.emplace(std::pair(key.tensor, key.chunk), std::move(chunk)).second) {
    return absl::DataLossError(
        StrCat("dense tensor ", key.tensor, ", chunk ", key.chunk, " is stored twice"));
  }
  return OkStatus();
}

void DenseParameters::ForEachDirty(
    const std::function<void(const std::string&, const std::string&)>& visit) const {
  ReadLock lock(lock_);
  std::map<std::string, const Chunk*> dirty;  // by storage key, which starts with the slot
  for (const auto& [place, chunk] : chunks_) {
    ReadLock chunk_lock(chunk->lock);
    if (!chunk->dirty) continue;
    dirty[EncodeDenseKey({static_cast<std::uint16_t>(chunk->slot), place.first, place.second})] =
        chunk.get();
  }
  for (const auto& [key, chunk] : dirty) {
    ReadLock chunk_lock(chunk->lock);
    visit(key, EncodeDenseRecord(chunk->layout, chunk->body));
  }
}

void DenseParameters::MarkAllClean() {
  ReadLock lock(lock_);
  for (const auto& [place, chunk] : chunks_) {
    WriteLock chunk_lock(chunk->lock);
    chunk->dirty = false;
  }
}

std::vector<proto::DenseTensorEntry> DenseParameters::Describe() const {
  ReadLock lock(lock_);
  if (tensors_.empty()) return expected_;
  std::vector<proto::DenseTensorEntry> entries;
  for (const Tensor& tensor : tensors_) {
    proto::DenseTensorEntry& entry = entries.emplace_back();
    entry.set_name(tensor.spec.name);
    for (const std::uint32_t dim : tensor.spec.dims) entry.add_dim(dim);
    entry.set_optimizer(
        std::string(tensor.spec.is_statistic ? kMovingAverage : optimizer_->name()));
  }
  return entries;
}

std::uint64_t DenseParameters::ChunkCount() const {
  ReadLock lock(lock_);
  return chunks_.size();
}

std::uint64_t DenseParameters::FloatCount() const {
  ReadLock lock(lock_);
  std::uint64_t floats = 0;
  for (const auto& [place, chunk] : chunks_) floats += chunk->layout.dim();
  return floats;
}

std::uint64_t DenseParameters::LastStep() const {
  ReadLock lock(lock_);
  std::uint64_t last = 0;
  for (const auto& [place, chunk] : chunks_) {
    ReadLock chunk_lock(chunk->lock);
    last = std::max(last, chunk->layout.Metadata(chunk->body).last_step);
  }
  return last;
}

}  // namespace cairn::ps
