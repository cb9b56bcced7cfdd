// Initial values of rows: a pure function of (seed, table salt, key), so that a row's first value
// depends neither on the order of arrival, nor on the number of servers, nor on the machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "common/base/status.h"

namespace cairn::proto {
class InitializerConfig;
}  // namespace cairn::proto

namespace cairn::ps {

// Thread-safety: immutable after construction.
class RowInitializer {
 public:
  virtual ~RowInitializer() = default;
  // Writes the initial value of keys[i] to rows[i], dim floats each.
  virtual void Fill(std::span<const std::uint64_t> keys, std::size_t dim,
                    float* const* rows) const = 0;
};

struct InitializerEntry {
  std::string_view name;  // = the field of proto::InitializerConfig
  Result<std::unique_ptr<RowInitializer>> (*make)(const proto::InitializerConfig& config,
                                                  std::uint64_t stream);
};

// Sorted by name: normal(0, stddev), uniform[-bound, bound), zero.
std::span<const InitializerEntry> Initializers();

// An unset kind is normal with its defaults. InvalidArgument, naming the field, for parameters that
// are negative or not finite.
Result<std::unique_ptr<RowInitializer>> MakeInitializer(const proto::InitializerConfig& config,
                                                        std::uint64_t seed,
                                                        std::uint64_t table_salt);

}  // namespace cairn::ps
