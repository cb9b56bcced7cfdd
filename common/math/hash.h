// Keys, slots and string hashes. The values are part of the checkpoint format: never change a
// function here, add another.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace cairn {

// Finaliser of splitmix64 (Steele, Lea, Flood 2014): a bijection on 64 bits with good avalanche.
constexpr std::uint64_t Mix64(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9ull;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebull;
  x ^= x >> 31;
  return x;
}

// XXH3, 64 bits, with a seed.
std::uint64_t HashBytes(std::string_view bytes, std::uint64_t seed);

// Salt of a table: depends on its name only, so that equal raw values of two tables have different
// keys.
std::uint64_t TableSalt(std::string_view table_name);

// Key of a raw value in a table: HashBytes(raw, salt). Every 64-bit value is a legal key.
inline std::uint64_t KeyOf(std::string_view raw, std::uint64_t table_salt) {
  return HashBytes(raw, table_salt);
}

// Key of the row that all rare values of a table share; no raw value's and no missing value's key
// (but for collisions, as everywhere).
inline std::uint64_t RareKey(std::uint64_t table_salt) {
  return HashBytes("rare", Mix64(table_salt ^ 0x72617265ull));
}

// Key of a combination of raw values, by their keys in order.
std::uint64_t CrossKey(std::span<const std::uint64_t> parts, std::uint64_t table_salt);

// Name of a row's group (data.group), for telling groups apart.
inline std::uint64_t GroupOf(std::string_view raw) { return HashBytes(raw, 0x67726f7570ull); }

// Key of chunk `chunk` of a dense tensor; decides the chunk's slot as a row's key does.
inline std::uint64_t DenseChunkKey(std::string_view tensor_name, std::uint64_t chunk) {
  return Mix64(HashBytes(tensor_name, 0x64656e7365ull) + chunk);
}

// Slot of a key: the high `slot_bits` bits of the mixed key, so that a slot map never depends on
// how keys cluster.
constexpr std::uint32_t SlotOf(std::uint64_t key, int slot_bits) {
  return slot_bits == 0
             ? 0u
             : static_cast<std::uint32_t>(Mix64(key + 0x9e3779b97f4a7c15ull) >> (64 - slot_bits));
}

}  // namespace cairn
