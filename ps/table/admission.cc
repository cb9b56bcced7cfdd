#include "ps/table/admission.h"

#include <algorithm>

#include "common/math/hash.h"
#include "common/math/rng.h"
#include "proto/config.pb.h"

namespace cairn::ps {
namespace {

constexpr std::size_t kMib = 1u << 20;

Status Check(const proto::AdmissionConfig& config) {
  if (config.min_pushes() < 1 || config.min_pushes() > 15) {
    return absl::InvalidArgumentError(
        StrCat("admission.min_pushes: ", config.min_pushes(), " is not in [1, 15]"));
  }
  if (config.filter_mib() < 1 || config.filter_mib() > 65536) {
    return absl::InvalidArgumentError(
        StrCat("admission.filter_mib: ", config.filter_mib(), " is not in [1, 65536]"));
  }
  if (!(config.probability() > 0 && config.probability() <= 1)) {
    return absl::InvalidArgumentError(
        StrCat("admission.probability: ", config.probability(), " is not in (0, 1]"));
  }
  return OkStatus();
}

// One thread at a time writes, others read.
void Add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

Result<std::unique_ptr<Admission>> Admission::Make(const proto::AdmissionConfig& config,
                                                   std::uint64_t seed, std::uint64_t table_salt,
                                                   const SlotRange& slots) {
  RETURN_IF_ERROR(Check(config));
  return std::unique_ptr<Admission>(new Admission(config, seed, table_salt, slots));
}

Admission::Admission(const proto::AdmissionConfig& config, std::uint64_t seed,
                     std::uint64_t table_salt, const SlotRange& slots)
    : min_pushes_(config.min_pushes()),
      probability_(config.probability()),
      stream_(Mix64(Mix64(seed + 0x9e3779b97f4a7c15ull) ^ table_salt ^ 0x61646d6974ull)) {
  if (min_pushes_ == 1) return;
  filter_ = std::make_unique<CountingFilter>(
      CountingFilter::Options{.bytes = config.filter_mib() * kMib,
                              .threshold = min_pushes_,
                              .halve_after = config.halve_after_pushes(),
                              .table_salt = table_salt,
                              .slots = slots});
}

bool Admission::Draw(std::uint64_t key, std::uint64_t push) const {
  const auto words = Philox4x32(stream_, key, push);
  const std::uint64_t bits = (static_cast<std::uint64_t>(words[1]) << 32 | words[0]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53 < probability_;
}

void Admission::Admit(std::uint32_t stripe, std::span<const std::uint64_t> keys, std::uint64_t push,
                      bool* admitted) {
  constexpr std::size_t kBatch = 256;
  std::array<std::uint8_t, kBatch> sightings;
  std::uint64_t yes = 0;
  for (std::size_t begin = 0; begin < keys.size(); begin += kBatch) {
    const auto batch = keys.subspan(begin, std::min(kBatch, keys.size() - begin));
    if (filter_ != nullptr) filter_->Count(stripe, batch, push, sightings.data());
    for (std::size_t i = 0; i < batch.size(); ++i) {
      bool& answer = admitted[begin + i];
      answer = (filter_ == nullptr || sightings[i] >= min_pushes_) &&
               (probability_ >= 1 || Draw(batch[i], push));
      yes += answer ? 1 : 0;
    }
  }
  Add(counts_[stripe].admitted, yes);
  Add(counts_[stripe].refused, keys.size() - yes);
}

void Admission::SaveStripe(std::uint32_t stripe, std::uint64_t push, std::string* out) const {
  if (filter_ != nullptr) filter_->SaveStripe(stripe, push, out);
}

Status Admission::Load(std::string_view bytes, std::uint64_t push, std::string_view source) {
  return filter_ == nullptr ? OkStatus() : filter_->Load(bytes, push, source);
}

Admission::Counts Admission::counts() const {
  Counts sum;
  for (const StripeCounts& stripe : counts_) {
    sum.admitted += stripe.admitted.load(std::memory_order_relaxed);
    sum.refused += stripe.refused.load(std::memory_order_relaxed);
  }
  return sum;
}

}  // namespace cairn::ps
