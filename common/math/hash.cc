#include "common/math/hash.h"

#include <xxhash.h>

#include <bit>

namespace cairn {

std::uint64_t HashBytes(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t TableSalt(std::string_view table_name) {
  return HashBytes(table_name, 0x7461626c65ull);
}

std::uint64_t CrossKey(std::span<const std::uint64_t> parts, std::uint64_t table_salt) {
  static_assert(std::endian::native == std::endian::little,
                "keys are hashed as they lie in memory");
  return XXH3_64bits_withSeed(parts.data(), parts.size_bytes(),
                              Mix64(table_salt ^ 0x63726f7373ull));
}

}  // namespace cairn
