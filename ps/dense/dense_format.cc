#include "ps/dense/dense_format.h"

#include <cstring>

namespace cairn::ps {
namespace {

constexpr std::size_t kSlotBytes = 2, kChunkBytes = 4, kHeaderBytes = 8;

}  // namespace

std::string EncodeDenseKey(const DenseKey& key) {
  std::string out;
  out.push_back(static_cast<char>(key.slot >> 8));
  out.push_back(static_cast<char>(key.slot & 0xff));
  out += key.tensor;
  for (int shift = 24; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>(key.chunk >> shift & 0xff));
  }
  return out;
}

Result<DenseKey> DecodeDenseKey(std::string_view bytes) {
  if (bytes.size() < kSlotBytes + 1 + kChunkBytes) {
    return absl::DataLossError(StrCat("key of a dense chunk of only ", bytes.size(), " bytes"));
  }
  const auto byte = [bytes](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(bytes[i]));
  };
  DenseKey key;
  key.slot = static_cast<std::uint16_t>(byte(0) << 8 | byte(1));
  key.tensor = bytes.substr(kSlotBytes, bytes.size() - kSlotBytes - kChunkBytes);
  for (std::size_t i = bytes.size() - kChunkBytes; i < bytes.size(); ++i) {
    key.chunk = key.chunk << 8 | byte(i);
  }
  return key;
}

std::string EncodeDenseRecord(const RowLayout& layout, const std::byte* body) {
  const std::uint32_t header[2] = {static_cast<std::uint32_t>(layout.dim()),
                                   static_cast<std::uint32_t>(layout.state_floats())};
  static_assert(sizeof header == kHeaderBytes);
  std::string out(kHeaderBytes + layout.RecordBytes(), '\0');
  std::memcpy(out.data(), header, kHeaderBytes);
  std::memcpy(out.data() + kHeaderBytes, body, layout.RecordBytes());
  return out;
}

Result<DenseRecord> DecodeDenseRecord(std::string_view bytes) {
  std::uint32_t header[2] = {0, 0};
  if (bytes.size() >= kHeaderBytes) std::memcpy(header, bytes.data(), kHeaderBytes);
  const RowLayout layout(header[0], header[1]);
  if (bytes.size() != kHeaderBytes + layout.RecordBytes() || header[0] == 0 ||
      header[0] > kChunkFloats) {
    return absl::DataLossError(StrCat("record of a dense chunk of ", bytes.size(),
                                      " bytes does not fit its header of ", header[0],
                                      " floats and ", header[1], " of state"));
  }
  return DenseRecord{layout, bytes.substr(kHeaderBytes)};
}

}  // namespace cairn::ps
