// Which keys get a row: those that enough pushes have named (counted by a filter of fixed memory),
// and of those each push makes a share, by lot.
//
// A key is counted too often where others share its counters, never too seldom. Share of keys with
// fewer than `min_pushes` sightings that got a row all the same, where a key is sighted m times
// with a probability of about 1 / m^2, at most 50 times, in random order (admission_test.cc):
//
//   keys per byte of filter     1        2        4
//   min_pushes 2              1.3 %    7.2 %    26 %
//   min_pushes 3              2.4 %     12 %    41 %
//   min_pushes 5              2.9 %     17 %    57 %
//   min_pushes 10             0.3 %    2.1 %    18 %
//
// With ageing, `keys` are those of one or two ageing periods. An evicted row's key comes back with
// what the filter still counts for it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "ps/table/counting_filter.h"
#include "ps/table/key_groups.h"

namespace cairn::proto {
class AdmissionConfig;
}  // namespace cairn::proto

namespace cairn::ps {

// Of one table on one server. Thread-safety: as CountingFilter: Admit needs the lock of the stripe
// it names, SaveStripe at least its reader's lock; calls for different stripes may run at once;
// Load runs alone; the rest may be called at any time.
class Admission {
 public:
  // The filter's memory is mapped at once, in huge pages where they are granted, and taken from
  // the kernel as it is touched; none with min_pushes 1. InvalidArgument for values out of range.
  static Result<std::unique_ptr<Admission>> Make(const proto::AdmissionConfig& config,
                                                 std::uint64_t seed, std::uint64_t table_salt,
                                                 const SlotRange& slots);

  // Every key gets a row when it is first named: there is no need to ask.
  bool admits_all() const { return filter_ == nullptr && probability_ >= 1; }

  // admitted[i] = keys[i] may have a row now. `keys`: those without a row that push number `push`
  // (of this server) names, each once, all of this stripe. Counts a sighting of each. The same
  // calls in the same order give the same answers; the lot of a key depends on (seed, table_salt,
  // key, push) alone.
  void Admit(std::uint32_t stripe, std::span<const std::uint64_t> keys, std::uint64_t push,
             bool* admitted);

  // As CountingFilter's; without a filter nothing is saved and saved pieces are passed over. After
  // a FailedPrecondition of Load the filter is empty, and can be used so.
  void SaveStripe(std::uint32_t stripe, std::uint64_t push, std::string* out) const;
  Status Load(std::string_view bytes, std::uint64_t push, std::string_view source);

  // Memory in bytes.
  std::size_t bytes() const { return sizeof(*this) + (filter_ == nullptr ? 0 : filter_->bytes()); }

  // Answers so far: admitted or not. A key that is refused in three pushes counts three times.
  struct Counts {
    std::uint64_t admitted = 0;
    std::uint64_t refused = 0;
  };
  Counts counts() const;

 private:
  struct alignas(64) StripeCounts {
    std::atomic<std::uint64_t> admitted{0};
    std::atomic<std::uint64_t> refused{0};
  };

  Admission(const proto::AdmissionConfig& config, std::uint64_t seed, std::uint64_t table_salt,
            const SlotRange& slots);
  bool Draw(std::uint64_t key, std::uint64_t push) const;

  std::uint32_t min_pushes_;
  double probability_;
  std::uint64_t stream_;                    // of the lots
  std::unique_ptr<CountingFilter> filter_;  // null if min_pushes is 1
  std::array<StripeCounts, kStripes> counts_;
};

}  // namespace cairn::ps
