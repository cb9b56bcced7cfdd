#include "ps/log/push_record.h"

#include <cstring>

#include <glog/logging.h>

namespace cairn::ps {
namespace {

constexpr std::uint32_t kVersion = 1;

struct Header {
  std::uint32_t version;
  std::uint32_t tables;
  std::uint32_t chunks;
  std::uint32_t zero;
  std::uint64_t client;
  std::uint64_t sequence;
  double learning_rate_scale;
};
static_assert(sizeof(Header) == 40);

// Of a table: {table, dim, keys}; of a chunk: {tensor, chunk, floats}.
struct Entry {
  std::uint32_t a;
  std::uint32_t b;
  std::uint64_t count;
};
static_assert(sizeof(Entry) == 16);

template <typename T>
void AppendBytes(const T& value, std::vector<std::byte>* out) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out->insert(out->end(), bytes.begin(), bytes.end());
}

Status Malformed(std::string_view what, std::size_t size) {
  return absl::DataLossError(StrCat("push record of ", size, " bytes: ", what));
}

// Takes arrays from the front of a record. Arrays of 8-byte values come before those of 4, and all
// that precedes them is a multiple of 8 bytes long: so each is aligned when the record is.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : rest_(bytes) {}
  bool Has(std::uint64_t count, std::size_t element_bytes) const {
    return count <= rest_.size() / element_bytes;
  }
  template <typename T>
  std::span<const T> Take(std::uint64_t count) {
    DCHECK(Has(count, sizeof(T)));
    const std::span<const T> taken(reinterpret_cast<const T*>(rest_.data()), count);
    rest_ = rest_.subspan(taken.size_bytes());
    return taken;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::span<const std::byte> rest_;
};

}  // namespace

EncodedPush::EncodedPush(std::span<const RowsUpdate> tables, std::span<const std::uint32_t> dims,
                         std::span<const DenseChunkUpdate> dense, PushId id,
                         double learning_rate_scale) {
  head_.reserve(sizeof(Header) + (tables.size() + dense.size()) * sizeof(Entry));
  parts_.reserve(1 + 2 * tables.size() + dense.size());
  AppendBytes(Header{kVersion, static_cast<std::uint32_t>(tables.size()),
                     static_cast<std::uint32_t>(dense.size()), 0, id.client, id.sequence,
                     learning_rate_scale},
              &head_);
  for (const RowsUpdate& update : tables) {
    CHECK_LT(update.table, dims.size());
    CHECK_GT(dims[update.table], 0u);
    AppendBytes(Entry{update.table, dims[update.table], update.keys.size()}, &head_);
  }
  for (const DenseChunkUpdate& update : dense) {
    AppendBytes(Entry{update.tensor, update.chunk, update.gradient.size()}, &head_);
  }
  parts_.push_back(head_);
  for (const RowsUpdate& update : tables) parts_.push_back(std::as_bytes(update.keys));
  for (const RowsUpdate& update : tables) {
    const std::span gradients(update.gradients, update.keys.size() * dims[update.table]);
    parts_.push_back(std::as_bytes(gradients));
  }
  for (const DenseChunkUpdate& update : dense) parts_.push_back(std::as_bytes(update.gradient));
}

Result<PushRecord> DecodePush(std::span<const std::byte> bytes) {
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 8 != 0) {
    return absl::InvalidArgumentError("push record does not lie at a multiple of 8 bytes");
  }
  if (bytes.size() < sizeof(Header)) return Malformed("shorter than its header", bytes.size());
  Header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version != kVersion) {
    return Malformed(StrCat("version ", header.version, ", not ", kVersion), bytes.size());
  }
  if (header.zero != 0) return Malformed("reserved field is not zero", bytes.size());
  Cursor cursor(bytes.subspan(sizeof header));
  const std::uint64_t entry_count = std::uint64_t{header.tables} + header.chunks;
  if (!cursor.Has(entry_count, sizeof(Entry))) return Malformed("head is cut off", bytes.size());
  const auto tables = cursor.Take<Entry>(header.tables);
  const auto chunks = cursor.Take<Entry>(header.chunks);

  PushRecord record;
  record.id = {header.client, header.sequence};
  record.learning_rate_scale = header.learning_rate_scale;
  record.tables.reserve(tables.size());
  record.dims.reserve(tables.size());
  record.dense.reserve(chunks.size());
  for (const auto& [table, dim, keys] : tables) {
    if (dim == 0) return Malformed(StrCat("table ", table, " has width 0"), bytes.size());
    if (!cursor.Has(keys, sizeof(std::uint64_t))) {
      return Malformed(StrCat("keys of table ", table, " are cut off"), bytes.size());
    }
    record.tables.push_back({table, cursor.Take<std::uint64_t>(keys), nullptr});
    record.dims.push_back(dim);
  }
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const auto& [table, dim, keys] = tables[i];
    if (!cursor.Has(keys, std::size_t{dim} * sizeof(float))) {
      return Malformed(StrCat("gradients of table ", table, " are cut off"), bytes.size());
    }
    record.tables[i].gradients = cursor.Take<float>(keys * dim).data();
  }
  for (const auto& [tensor, chunk, floats] : chunks) {
    if (!cursor.Has(floats, sizeof(float))) {
      return Malformed(StrCat("chunk ", chunk, " of tensor ", tensor, " is cut off"), bytes.size());
    }
    record.dense.push_back({tensor, chunk, cursor.Take<float>(floats)});
  }
  if (!cursor.at_end()) return Malformed("bytes behind the last value", bytes.size());
  return record;
}

}  // namespace cairn::ps
