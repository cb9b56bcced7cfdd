// The one place that knows how a row lies in memory and on disk.
//
//   record      = value state metadata
//   value       = dim * number             what a pull reads; float32, or a 16-bit type (storage.h)
//   state       = state_floats * float32   the optimizer's, see RowOptimizer::StateSize
//   metadata    = version:u32 count:u32 last_step:u64            (16 bytes, RowMetadata)
//   storage key = slot:u16 table:u16 key:u64, big-endian (12 bytes), so that the rows of a slot are
//                 one range and the rows of a table in a slot are one range inside it
//
// Numbers of a record are little-endian, the memory order of the machines that Cairn runs on: a
// stored record is the memory image, but that a table keeps value and rest apart.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "ps/table/storage.h"

namespace cairn::ps {

static_assert(std::endian::native == std::endian::little,
              "records are stored as they lie in memory");

struct RowMetadata {
  std::uint32_t version = 0;    // optimizer steps applied to the row; stays at its maximum
  std::uint32_t count = 0;      // pushes that named the row; stays at its maximum
  std::uint64_t last_step = 0;  // the server's push counter at the last step
  bool operator==(const RowMetadata&) const = default;
};
static_assert(sizeof(RowMetadata) == 16);

// Metadata of a row after one more optimizer step, of push `step`.
inline RowMetadata NextMetadata(const RowMetadata& before, std::uint64_t step) {
  constexpr auto kMax = std::numeric_limits<std::uint32_t>::max();
  return {before.version == kMax ? kMax : before.version + 1,
          before.count == kMax ? kMax : before.count + 1, step};
}

// The same for a row that the push did not name (l2_rows: ALL).
inline RowMetadata NextUnnamedMetadata(const RowMetadata& before, std::uint64_t step) {
  return {NextMetadata(before, step).version, before.count, step};
}

// Widths and offsets of the records of one table (or of a dense chunk of `dim` floats).
class RowLayout {
 public:
  RowLayout(std::size_t dim, std::size_t state_floats, Storage storage = Storage::kFloat32)
      : dim_(dim), state_floats_(state_floats), storage_(storage) {}

  std::size_t dim() const { return dim_; }
  std::size_t state_floats() const { return state_floats_; }
  Storage storage() const { return storage_; }
  std::size_t MetadataOffset() const { return ValueBytes() + state_floats_ * sizeof(float); }
  std::size_t RecordBytes() const { return MetadataOffset() + sizeof(RowMetadata); }
  // The two parts that lie apart in a table's memory (row_memory.h); side by side they are a
  // record.
  std::size_t ValueBytes() const { return dim_ * BytesOf(storage_); }
  std::size_t RestBytes() const { return RecordBytes() - ValueBytes(); }

  // With float32 storage. `record` is aligned to 4 bytes; the spans borrow it.
  std::span<float> Value(std::byte* record) const {
    return {reinterpret_cast<float*>(record), dim_};
  }
  std::span<const float> Value(const std::byte* record) const {
    return {reinterpret_cast<const float*>(record), dim_};
  }
  std::span<float> State(std::byte* record) const {
    return {reinterpret_cast<float*>(record) + dim_, state_floats_};
  }
  std::span<const float> State(const std::byte* record) const {
    return {reinterpret_cast<const float*>(record) + dim_, state_floats_};
  }
  // With any storage; records of any alignment.
  RowMetadata Metadata(const std::byte* record) const {
    RowMetadata metadata;
    std::memcpy(&metadata, record + MetadataOffset(), sizeof metadata);
    return metadata;
  }
  void SetMetadata(std::byte* record, const RowMetadata& metadata) const {
    std::memcpy(record + MetadataOffset(), &metadata, sizeof metadata);
  }

  // The same of the rest of a row.
  std::span<float> StateOfRest(std::byte* rest) const {
    return {reinterpret_cast<float*>(rest), state_floats_};
  }
  RowMetadata MetadataOfRest(const std::byte* rest) const {
    RowMetadata metadata;
    std::memcpy(&metadata, rest + state_floats_ * sizeof(float), sizeof metadata);
    return metadata;
  }
  void SetMetadataOfRest(std::byte* rest, const RowMetadata& metadata) const {
    std::memcpy(rest + state_floats_ * sizeof(float), &metadata, sizeof metadata);
  }

  bool operator==(const RowLayout&) const = default;

 private:
  std::size_t dim_;
  std::size_t state_floats_;
  Storage storage_;
};

// Place of a row in the column family "rows".
struct RowKey {
  std::uint16_t slot = 0;
  std::uint16_t table = 0;
  std::uint64_t key = 0;
  auto operator<=>(const RowKey&) const = default;
};

inline constexpr std::size_t kRowKeyBytes = 12;
using EncodedRowKey = std::array<char, kRowKeyBytes>;

// Order of the encoded bytes = order of (slot, table, key).
inline EncodedRowKey EncodeRowKey(const RowKey& row) {
  EncodedRowKey out;
  const auto put = [&out](std::size_t at, std::uint64_t value, int bytes) {
    for (int i = bytes - 1; i >= 0; --i) {
      out[at++] = static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    }
  };
  put(0, row.slot, 2);
  put(2, row.table, 2);
  put(4, row.key, 8);
  return out;
}

// Empty unless `bytes` has exactly the length of a key.
inline std::optional<RowKey> DecodeRowKey(std::string_view bytes) {
  if (bytes.size() != kRowKeyBytes) return std::nullopt;
  const auto get = [bytes](std::size_t at, std::size_t count) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < count; ++i) {
      value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
    }
    return value;
  };
  return RowKey{static_cast<std::uint16_t>(get(0, 2)), static_cast<std::uint16_t>(get(2, 2)),
                get(4, 8)};
}

}  // namespace cairn::ps
