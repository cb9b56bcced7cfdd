#include "common/rpc/frame.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/math/hash.h"

namespace cairn::rpc {
namespace {

template <typename T>
T Load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename T>
void Store(std::byte* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

// Takes fixed-size values off the front of a body; `ok` turns false where it ends too early.
class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : rest_(bytes) {}
  template <typename T>
  T Take() {
    if (rest_.size() < sizeof(T)) {
      ok_ = false;
      rest_ = {};
      return T{};
    }
    const T value = Load<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  std::span<const std::byte> TakeBytes(std::size_t count) {
    if (rest_.size() < count) {
      ok_ = false;
      rest_ = {};
      return {};
    }
    const auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  std::size_t left() const { return rest_.size(); }
  bool ok() const { return ok_; }

 private:
  std::span<const std::byte> rest_;
  bool ok_ = true;
};

class Appender {
 public:
  template <typename T>
  void Put(T value) {
    const std::size_t at = bytes_.size();
    bytes_.resize(at + sizeof value);
    Store(bytes_.data() + at, value);
  }
  void PutText(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    while (bytes_.size() % 4 != 0) bytes_.push_back(std::byte{0});
  }
  std::vector<std::byte> Done() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

Status Truncated(std::string_view what) {
  return absl::InvalidArgumentError(StrCat(what, " ends too early"));
}

constexpr std::size_t PaddedTo4(std::size_t bytes) { return (bytes + 3) / 4 * 4; }

Result<DenseTensorInfo> TakeTensor(Cursor& cursor, const FrameLimits& limits) {
  DenseTensorInfo tensor;
  const auto name_bytes = cursor.Take<std::uint32_t>();
  const auto rank = cursor.Take<std::uint32_t>();
  const auto flags = cursor.Take<std::uint32_t>();
  tensor.momentum = cursor.Take<float>();
  if (!cursor.ok()) return Truncated("dense layout");
  if (name_bytes == 0 || name_bytes > limits.max_name_bytes || rank > limits.max_rank ||
      flags > 3 || !std::isfinite(tensor.momentum)) {
    return absl::InvalidArgumentError(StrCat("dense tensor with a name of ", name_bytes,
                                             " bytes, rank ", rank, ", flags ", flags,
                                             ", momentum ", tensor.momentum));
  }
  tensor.is_weight = (flags & 1) != 0;
  tensor.is_statistic = (flags & 2) != 0;
  std::uint64_t floats = 1;
  for (std::uint32_t i = 0; i < rank; ++i) {
    const auto dim = cursor.Take<std::uint32_t>();
    if (!cursor.ok()) return Truncated("dense layout");
    if (dim == 0) return absl::InvalidArgumentError("dense tensor with a dimension of 0");
    // Both factors are below 2^32 + 1, so that the product cannot wrap.
    floats *= dim;
    if (floats > limits.max_dense_floats) {
      return absl::ResourceExhaustedError(
          StrCat("dense tensor of more than ", limits.max_dense_floats, " floats"));
    }
    tensor.dims.push_back(dim);
  }
  const auto name = cursor.TakeBytes(PaddedTo4(name_bytes));
  if (!cursor.ok()) return Truncated("dense layout");
  tensor.name.assign(reinterpret_cast<const char*>(name.data()), name_bytes);
  return tensor;
}

Status CheckTable(const TableHead& table, std::span<const std::uint32_t> dims,
                  std::vector<bool>& seen) {
  if (table.table >= dims.size()) {
    return absl::InvalidArgumentError(
        StrCat("table ", table.table, " of a job with ", dims.size(), " tables"));
  }
  if (table.dim != dims[table.table]) {
    return absl::InvalidArgumentError(StrCat("table ", table.table, " has dim ", dims[table.table],
                                             ", the request says ", table.dim));
  }
  if (seen[table.table]) {
    return absl::InvalidArgumentError(StrCat("table ", table.table, " twice in one request"));
  }
  seen[table.table] = true;
  return OkStatus();
}

Status CheckStepHead(FrameKind kind, const StepHead& head, std::uint32_t mode) {
  if (kind == FrameKind::kPull && mode > 1) {
    return absl::InvalidArgumentError(StrCat("PULL with mode ", mode));
  }
  if (kind == FrameKind::kPush &&
      !(std::isfinite(head.learning_rate_scale) && head.learning_rate_scale >= 0)) {
    return absl::InvalidArgumentError(
        StrCat("PUSH with learning rate scale ", head.learning_rate_scale));
  }
  if (kind == FrameKind::kPush && (head.sequence == 0 || head.client == 0)) {
    return absl::InvalidArgumentError("PUSH without a client and a sequence number");
  }
  return OkStatus();
}

}  // namespace

std::string KindName(FrameKind kind) {
  switch (kind) {
    case FrameKind::kHello:
      return "HELLO";
    case FrameKind::kRegisterDense:
      return "REGISTER_DENSE";
    case FrameKind::kInitDense:
      return "INIT_DENSE";
    case FrameKind::kPull:
      return "PULL";
    case FrameKind::kPush:
      return "PUSH";
    case FrameKind::kReply:
      return "REPLY";
  }
  return StrCat("kind ", kind);
}

void EncodeHeader(const FrameHeader& header, std::byte* out) {
  Store(out, kFrameMagic);
  Store(out + 4, static_cast<std::uint16_t>(header.kind));
  Store(out + 6, header.code);
  Store(out + 8, header.request);
  Store(out + 16, header.total);
  Store(out + 24, header.offset);
  Store(out + 32, header.payload);
  Store(out + 36, std::uint32_t{0});
}

Result<FrameHeader> DecodeHeader(std::span<const std::byte> bytes, std::size_t message_bytes) {
  if (bytes.size() < kHeaderBytes || message_bytes < kHeaderBytes) {
    return absl::InvalidArgumentError(StrCat("frame of ", message_bytes, " bytes"));
  }
  if (message_bytes > kMaxMessageBytes) {
    return absl::ResourceExhaustedError(StrCat("frame of ", message_bytes, " bytes"));
  }
  const auto* p = bytes.data();
  FrameHeader header;
  const auto magic = Load<std::uint32_t>(p);
  const auto kind = Load<std::uint16_t>(p + 4);
  header.kind = static_cast<FrameKind>(kind);
  header.code = Load<std::uint16_t>(p + 6);
  header.request = Load<std::uint64_t>(p + 8);
  header.total = Load<std::uint64_t>(p + 16);
  header.offset = Load<std::uint64_t>(p + 24);
  header.payload = Load<std::uint32_t>(p + 32);
  if (magic != kFrameMagic) {
    return absl::InvalidArgumentError(StrCat("not a frame, or of another version: magic ", magic));
  }
  if (kind < static_cast<std::uint16_t>(FrameKind::kHello) ||
      kind > static_cast<std::uint16_t>(FrameKind::kReply)) {
    return absl::InvalidArgumentError(StrCat("frame of unknown kind ", kind));
  }
  if (Load<std::uint32_t>(p + 36) != 0 || (header.kind != FrameKind::kReply && header.code != 0)) {
    return absl::InvalidArgumentError("frame with reserved bits set");
  }
  if (header.payload != message_bytes - kHeaderBytes) {
    return absl::InvalidArgumentError(StrCat("frame says ", header.payload, " bytes follow, ",
                                             message_bytes - kHeaderBytes, " do"));
  }
  if (header.offset > header.total || header.payload > header.total - header.offset) {
    return absl::InvalidArgumentError(StrCat("frame [", header.offset, ", +", header.payload,
                                             ") lies outside its body of ", header.total,
                                             " bytes"));
  }
  if (!header.IsLast() && header.payload < kMinPayloadBytes) {
    return absl::InvalidArgumentError(
        StrCat("frame of ", header.payload, " bytes that does not end its body"));
  }
  return header;
}

std::vector<std::byte> EncodeHello(const Hello& hello) {
  Appender out;
  out.Put(hello.job_epoch);
  out.Put(hello.incarnation);
  out.Put(hello.worker);
  out.Put(hello.ps);
  out.Put(hello.ps_count);
  out.Put(hello.slot_bits);
  out.Put(static_cast<std::uint32_t>(hello.dims.size()));
  out.Put(std::uint32_t{0});
  for (const std::uint32_t dim : hello.dims) out.Put(dim);
  return out.Done();
}

Result<Hello> DecodeHello(std::span<const std::byte> body) {
  Cursor cursor(body);
  Hello hello;
  hello.job_epoch = cursor.Take<std::uint64_t>();
  hello.incarnation = cursor.Take<std::uint64_t>();
  hello.worker = cursor.Take<std::uint32_t>();
  hello.ps = cursor.Take<std::uint32_t>();
  hello.ps_count = cursor.Take<std::uint32_t>();
  hello.slot_bits = cursor.Take<std::uint32_t>();
  const auto tables = cursor.Take<std::uint32_t>();
  const auto reserved = cursor.Take<std::uint32_t>();
  if (!cursor.ok()) return Truncated("HELLO");
  if (tables > kMaxTables) {
    return absl::ResourceExhaustedError(StrCat("HELLO with ", tables, " tables"));
  }
  if (reserved != 0 || cursor.left() != tables * sizeof(std::uint32_t)) {
    return absl::InvalidArgumentError(
        StrCat("HELLO with ", tables, " tables in ", body.size(), " bytes"));
  }
  for (std::uint32_t t = 0; t < tables; ++t) hello.dims.push_back(cursor.Take<std::uint32_t>());
  return hello;
}

std::uint64_t ClientIdOf(std::uint64_t job_epoch, std::uint32_t worker, std::uint64_t incarnation) {
  const std::uint64_t id = Mix64(Mix64(Mix64(job_epoch + 0x636c69656e74ull) + worker + 1) +
                                 incarnation + 0x9e3779b97f4a7c15ull);
  return id == 0 ? 1 : id;
}

std::uint64_t DenseTensorInfo::Floats() const {
  std::uint64_t floats = 1;
  for (const std::uint32_t dim : dims) floats *= dim;
  return floats;
}

std::vector<std::byte> EncodeDenseRegistration(const DenseRegistration& registration) {
  Appender out;
  out.Put(registration.job_epoch);
  out.Put(static_cast<std::uint32_t>(registration.tensors.size()));
  out.Put(std::uint32_t{0});
  for (const DenseTensorInfo& tensor : registration.tensors) {
    out.Put(static_cast<std::uint32_t>(tensor.name.size()));
    out.Put(static_cast<std::uint32_t>(tensor.dims.size()));
    out.Put(std::uint32_t{tensor.is_weight} | std::uint32_t{tensor.is_statistic} << 1);
    out.Put(tensor.momentum);
    for (const std::uint32_t dim : tensor.dims) out.Put(dim);
    out.PutText(tensor.name);
  }
  return out.Done();
}

Result<DenseRegistration> DecodeDenseRegistration(std::span<const std::byte> body,
                                                  const FrameLimits& limits) {
  Cursor cursor(body);
  DenseRegistration registration;
  registration.job_epoch = cursor.Take<std::uint64_t>();
  const auto tensors = cursor.Take<std::uint32_t>();
  const auto reserved = cursor.Take<std::uint32_t>();
  if (!cursor.ok()) return Truncated("dense layout");
  if (reserved != 0) return absl::InvalidArgumentError("dense layout with reserved bits set");
  if (tensors > limits.max_tensors) {
    return absl::ResourceExhaustedError(StrCat("dense layout of ", tensors, " tensors"));
  }
  std::uint64_t floats = 0;
  for (std::uint32_t t = 0; t < tensors; ++t) {
    ASSIGN_OR_RETURN(DenseTensorInfo tensor, TakeTensor(cursor, limits), "tensor ", t);
    floats += tensor.Floats();
    if (floats > limits.max_dense_floats) {
      return absl::ResourceExhaustedError(
          StrCat("dense layout of more than ", limits.max_dense_floats, " floats"));
    }
    registration.tensors.push_back(std::move(tensor));
  }
  if (cursor.left() != 0) {
    return absl::InvalidArgumentError(StrCat("dense layout with ", cursor.left(), " bytes over"));
  }
  return registration;
}

std::uint64_t StepHead::Keys() const {
  std::uint64_t keys = 0;
  for (const TableHead& table : tables) keys += table.keys;
  return keys;
}

std::uint64_t StepHead::Floats() const {
  std::uint64_t floats = dense_floats;
  for (const TableHead& table : tables) floats += table.keys * table.dim;
  return floats;
}

std::uint64_t StepHead::BodyBytes(FrameKind kind) const {
  const std::uint64_t floats = kind == FrameKind::kPull ? 0 : Floats();
  return HeadBytes() + Keys() * sizeof(std::uint64_t) + floats * sizeof(float);
}

std::vector<std::byte> EncodeStepHead(const StepHead& head) {
  std::vector<std::byte> out(head.HeadBytes());
  std::byte* p = out.data();
  Store(p, head.job_epoch);
  Store(p + 8, head.client);
  Store(p + 16, head.sequence);
  Store(p + 24, head.learning_rate_scale);
  Store(p + 32, static_cast<std::uint32_t>(head.mode));
  Store(p + 36, static_cast<std::uint32_t>(head.tables.size()));
  Store(p + 40, head.dense_floats);
  Store(p + 48, head.step);
  p += kStepHeadBytes;
  for (const TableHead& table : head.tables) {
    Store(p, table.table);
    Store(p + 4, table.dim);
    Store(p + 8, table.keys);
    p += kTableHeadBytes;
  }
  return out;
}

std::size_t StepHeadsBytes(std::span<const std::byte> step_head) {
  const auto tables = Load<std::uint32_t>(step_head.data() + 36);
  return kStepHeadBytes + std::min(tables, kMaxTables) * kTableHeadBytes;
}

Result<StepHead> DecodeStepHead(FrameKind kind, std::span<const std::byte> prefix,
                                std::uint64_t total, std::span<const std::uint32_t> dims,
                                const FrameLimits& limits) {
  Cursor cursor(prefix);
  StepHead head;
  head.job_epoch = cursor.Take<std::uint64_t>();
  head.client = cursor.Take<std::uint64_t>();
  head.sequence = cursor.Take<std::uint64_t>();
  head.learning_rate_scale = cursor.Take<double>();
  const auto mode = cursor.Take<std::uint32_t>();
  const auto tables = cursor.Take<std::uint32_t>();
  head.dense_floats = cursor.Take<std::uint64_t>();
  head.step = cursor.Take<std::uint64_t>();
  if (!cursor.ok()) return Truncated(KindName(kind));
  if (tables > kMaxTables) {
    return absl::ResourceExhaustedError(StrCat(KindName(kind), " with ", tables, " tables"));
  }
  if (cursor.left() < tables * kTableHeadBytes) return Truncated(KindName(kind));
  if (kind == FrameKind::kInitDense && tables != 0) {
    return absl::InvalidArgumentError(StrCat("INIT_DENSE with ", tables, " tables"));
  }
  RETURN_IF_ERROR(CheckStepHead(kind, head, mode));
  head.mode = static_cast<StepMode>(mode);
  if (head.dense_floats > limits.max_dense_floats) {
    return absl::ResourceExhaustedError(
        StrCat(KindName(kind), " with ", head.dense_floats, " dense floats"));
  }
  std::vector<bool> seen(dims.size());
  std::uint64_t keys = 0;
  head.tables.reserve(tables);
  for (std::uint32_t t = 0; t < tables; ++t) {
    TableHead table;
    table.table = cursor.Take<std::uint32_t>();
    table.dim = cursor.Take<std::uint32_t>();
    table.keys = cursor.Take<std::uint64_t>();
    RETURN_IF_ERROR(CheckTable(table, dims, seen), KindName(kind));
    if (table.keys > limits.max_keys || (keys += table.keys) > limits.max_keys) {
      return absl::ResourceExhaustedError(StrCat(KindName(kind), " with more than ",
                                                 limits.max_keys, " keys (table ", table.table,
                                                 " has ", table.keys, ")"));
    }
    head.tables.push_back(table);
  }
  // Nothing below wraps: keys, dims and dense_floats are within their limits.
  if (head.Floats() * sizeof(float) > limits.max_body_bytes) {
    return absl::ResourceExhaustedError(StrCat(KindName(kind), " of ", head.Floats(),
                                               " floats; at most ",
                                               limits.max_body_bytes / sizeof(float)));
  }
  if (head.BodyBytes(kind) != total) {
    return absl::InvalidArgumentError(
        StrCat(KindName(kind), " of ", total, " bytes, its heads say ", head.BodyBytes(kind)));
  }
  return head;
}

}  // namespace cairn::rpc
