// Frames of the data stream between a worker and a parameter server: one bidirectional gRPC stream
// of raw bytes, method kExchangeMethod. docs/rpc.md tells the whole protocol.
//
//   message  = header payload                  one gRPC message, at most kMaxMessageBytes
//   header   = 40 bytes, little-endian:
//     0  u32  magic     kFrameMagic; its last byte is the version
//     4  u16  kind      FrameKind
//     6  u16  code      reply: canonical status code, 0 = OK; request: 0
//     8  u64  request   chosen by the client, never used twice on a stream; a reply repeats it
//    16  u64  total     bytes of the whole body
//    24  u64  offset    of this payload in the body
//    32  u32  payload   bytes that follow, exactly the rest of the message
//    36  u32  reserved  0
//   body     = the payloads of one request's (or reply's) frames in order, without gap or overlap
//
// A frame that does not end its body carries at least kMinPayloadBytes. Frames of different bodies
// may alternate. Every request gets one reply: code 0 with the body that its kind defines, another
// code with a message as its body. Bodies:
//   HELLO           Hello            -> empty      first on every stream
//   REGISTER_DENSE  DenseRegistration-> empty
//   INIT_DENSE      Step             -> empty      dense only: first values of all owned chunks
//   PULL            Step             -> f32[sum of keys * dim] in the order of the tables, then
//                                       f32[dense_floats]
//   PUSH            Step             -> empty      gradients
//
//   Step     = step_head table_head{tables} keys{tables} floats
//   step_head = 56 bytes:
//     0 u64 job_epoch   8 u64 client   16 u64 sequence (PUSH: 1, 2, 3, ...; else 0)
//    24 f64 learning_rate_scale (PUSH)  32 u32 mode (PULL)  36 u32 tables  40 u64 dense_floats
//    48 u64 step (of a worker's training steps, from 1; 0: of none)
//   table_head = 16 bytes: u32 table, u32 dim, u64 keys
//   keys     = u64[table_head.keys]
//   floats   = PULL: none; else f32[keys * dim] of each table, then f32[dense_floats]
// dense_floats is 0, or the number of floats in all chunks of the registered layout that the server
// owns: tensor after tensor, chunk after chunk. Keys of all tables come before any float, so that a
// body at an aligned address has its keys and floats aligned.
//
//   Hello    = u64 job_epoch, u64 incarnation, u32 worker, u32 ps, u32 ps_count, u32 slot_bits,
//              u32 tables, u32 reserved 0, u32 dim{tables}
//   DenseRegistration = u64 job_epoch, u32 tensors, u32 reserved 0, tensor{tensors}
//   tensor   = u32 name_bytes, u32 rank, u32 flags (1 weight, 2 statistic), f32 momentum,
//              u32 dim{rank}, name, zero bytes up to a multiple of 4
//
// Decoders trust nothing: they check every count against FrameLimits and against the bytes that are
// there before they allocate, and refuse bytes left over. Their errors: InvalidArgument for what no
// client of ours sends, ResourceExhausted for a limit.
// Thread-safety: pure functions.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace cairn::rpc {

static_assert(std::endian::native == std::endian::little, "frames are copied as they lie");

inline constexpr char kExchangeMethod[] = "/cairn.proto.PsData/Exchange";
inline constexpr std::uint32_t kFrameMagic = 0x01464e43;  // "CNF" and version 1
inline constexpr std::size_t kHeaderBytes = 40;
inline constexpr std::size_t kMaxMessageBytes = std::size_t{1} << 20;
inline constexpr std::size_t kMaxPayloadBytes = kMaxMessageBytes - kHeaderBytes;
inline constexpr std::size_t kMinPayloadBytes = std::size_t{64} << 10;
inline constexpr std::size_t kStepHeadBytes = 56;
inline constexpr std::size_t kTableHeadBytes = 16;
// Dense tensors are cut into chunks of this many floats, the last one of a tensor shorter.
inline constexpr std::uint64_t kDenseChunkFloats = 16384;
// All heads of a step lie in its first frame.
inline constexpr std::uint32_t kMaxTables = 4000;
static_assert(kStepHeadBytes + kMaxTables * kTableHeadBytes <= kMinPayloadBytes);

enum class FrameKind : std::uint16_t {
  kHello = 1,
  kRegisterDense = 2,
  kInitDense = 3,
  kPull = 4,
  kPush = 5,
  kReply = 6,
};
// "PULL"; "kind 77" for anything else.
std::string KindName(FrameKind kind);

struct FrameLimits {
  std::uint64_t max_body_bytes = std::uint64_t{1} << 30;
  std::uint64_t max_keys = std::uint64_t{1} << 24;  // of a step, all tables together
  std::uint32_t max_dim = 4096;
  std::uint32_t max_tensors = 65536;
  std::uint32_t max_rank = 8;
  std::uint32_t max_name_bytes = 1024;
  std::uint64_t max_dense_floats = std::uint64_t{1} << 32;
};

struct FrameHeader {
  FrameKind kind = FrameKind::kReply;
  std::uint16_t code = 0;
  std::uint64_t request = 0;
  std::uint64_t total = 0;
  std::uint64_t offset = 0;
  std::uint32_t payload = 0;
  bool IsLast() const { return offset + payload == total; }
};

void EncodeHeader(const FrameHeader& header, std::byte* out);  // kHeaderBytes
// `message_bytes`: of the whole gRPC message that starts with `bytes`. The header returned obeys
// the grammar by itself (known kind, offset + payload <= total, sizes); whether it continues its
// body is the caller's to check.
Result<FrameHeader> DecodeHeader(std::span<const std::byte> bytes, std::size_t message_bytes);

struct Hello {
  std::uint64_t job_epoch = 0;
  std::uint64_t incarnation = 0;  // of a worker's processes, the later has the larger
  std::uint32_t worker = 0;
  std::uint32_t ps = 0;
  std::uint32_t ps_count = 1;
  std::uint32_t slot_bits = 0;
  std::vector<std::uint32_t> dims;  // of every table of the job
};
std::vector<std::byte> EncodeHello(const Hello& hello);
Result<Hello> DecodeHello(std::span<const std::byte> body);

// Identity under which a worker's pushes are recognised. The job epoch is part of it: a restored
// server holds an older count of the same worker. Never 0.
std::uint64_t ClientIdOf(std::uint64_t job_epoch, std::uint32_t worker, std::uint64_t incarnation);

struct DenseTensorInfo {
  std::string name;
  std::vector<std::uint32_t> dims;
  bool is_weight = false;
  bool is_statistic = false;
  float momentum = 0;
  std::uint64_t Floats() const;
};
struct DenseRegistration {
  std::uint64_t job_epoch = 0;
  std::vector<DenseTensorInfo> tensors;
};
std::vector<std::byte> EncodeDenseRegistration(const DenseRegistration& registration);
Result<DenseRegistration> DecodeDenseRegistration(std::span<const std::byte> body,
                                                  const FrameLimits& limits);

enum class StepMode : std::uint32_t { kTrain = 0, kScore = 1 };

struct TableHead {
  std::uint32_t table = 0;
  std::uint32_t dim = 0;
  std::uint64_t keys = 0;
};
struct StepHead {
  std::uint64_t job_epoch = 0;
  std::uint64_t client = 0;
  std::uint64_t sequence = 0;
  double learning_rate_scale = 1;
  StepMode mode = StepMode::kTrain;
  std::uint64_t dense_floats = 0;
  std::uint64_t step = 0;  // of the client's training steps, from 1: which pulls a push belongs to
  std::vector<TableHead> tables;

  std::uint64_t HeadBytes() const { return kStepHeadBytes + tables.size() * kTableHeadBytes; }
  std::uint64_t Keys() const;
  // Floats of all tables' rows and of the dense part.
  std::uint64_t Floats() const;
  // Of the request's body.
  std::uint64_t BodyBytes(FrameKind kind) const;
};
// Bytes of all heads of the step that starts with `step_head` (kStepHeadBytes), at most
// kMinPayloadBytes whatever it says.
std::size_t StepHeadsBytes(std::span<const std::byte> step_head);
// Step head and table heads: HeadBytes() bytes.
std::vector<std::byte> EncodeStepHead(const StepHead& head);
// `prefix`: the first bytes of a body of `total` bytes, at least all of its heads. Checks that
// `total` is what the heads say, that tables are known (`dims[table] == dim`) and listed once, and
// the limits, also of the reply.
Result<StepHead> DecodeStepHead(FrameKind kind, std::span<const std::byte> prefix,
                                std::uint64_t total, std::span<const std::uint32_t> dims,
                                const FrameLimits& limits);

}  // namespace cairn::rpc
