// How a chunk of a dense tensor is stored, in the column family "dense".
//
//   key    = slot:u16 (big-endian)  tensor name (bytes)  chunk:u32 (big-endian)
//   record = floats:u32  state_floats:u32  value  state  metadata   (little-endian)
//   value, state, metadata: as in a row of width `floats`, see ps/table/row_layout.h
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "ps/table/row_layout.h"

namespace cairn::ps {

// = worker::kDenseChunkFloats.
inline constexpr std::uint64_t kChunkFloats = 16384;

struct DenseKey {
  std::uint16_t slot = 0;
  std::string tensor;
  std::uint32_t chunk = 0;
  bool operator==(const DenseKey&) const = default;
};
std::string EncodeDenseKey(const DenseKey& key);
// DataLoss for bytes that are no key.
Result<DenseKey> DecodeDenseKey(std::string_view bytes);

// `body`: value, state and metadata as they lie in memory, layout.RecordBytes() bytes.
std::string EncodeDenseRecord(const RowLayout& layout, const std::byte* body);

struct DenseRecord {
  RowLayout layout;
  std::string_view body;  // of any alignment; borrows the decoded bytes
};
// DataLoss for a record whose length contradicts its header.
Result<DenseRecord> DecodeDenseRecord(std::string_view bytes);

}  // namespace cairn::ps
