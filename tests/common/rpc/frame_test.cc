#include "common/rpc/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "common/math/rng.h"

namespace cairn::rpc {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

std::vector<std::byte> HeaderBytes(const FrameHeader& header) {
  std::vector<std::byte> bytes(kHeaderBytes);
  EncodeHeader(header, bytes.data());
  return bytes;
}

TEST(Frame, HeaderIsLaidOutAsTheGrammarSays) {
  const auto bytes = HeaderBytes({FrameKind::kPush, 0, 0x0102030405060708, 300000, 100000, 200000});
  const unsigned char expected[kHeaderBytes] = {
      'C', 'N', 'F', 1, 5,    0,    0, 0, 8, 7, 6, 5, 4,    3,    2, 1, 0xe0, 0x93, 4, 0,
      0,   0,   0,   0, 0xa0, 0x86, 1, 0, 0, 0, 0, 0, 0x40, 0x0d, 3, 0, 0,    0,    0, 0};
  EXPECT_EQ(std::memcmp(bytes.data(), expected, kHeaderBytes), 0);
  const auto header = DecodeHeader(bytes, kHeaderBytes + 200000);
  ASSERT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->request, 0x0102030405060708u);
  EXPECT_TRUE(header->IsLast());
}

struct BadHeader {
  const char* name;
  FrameHeader header;
  std::size_t message_bytes;
  StatusCode code;
};

TEST(Frame, HeadersAgainstTheGrammarAreRefused) {
  const FrameHeader good{FrameKind::kPull, 0, 1, 100, 0, 100};
  const auto with = [&good](auto change) {
    FrameHeader header = good;
    change(header);
    return header;
  };
  const BadHeader cases[] = {
      {"kind 0", with([](auto& h) { h.kind = FrameKind{0}; }), 140, StatusCode::kInvalidArgument},
      {"kind 7", with([](auto& h) { h.kind = FrameKind{7}; }), 140, StatusCode::kInvalidArgument},
      {"code in a request", with([](auto& h) { h.code = 3; }), 140, StatusCode::kInvalidArgument},
      {"shorter message", good, 139, StatusCode::kInvalidArgument},
      {"longer message", good, 141, StatusCode::kInvalidArgument},
      {"offset beyond", with([](auto& h) { h.offset = 101; }), 140, StatusCode::kInvalidArgument},
      {"payload beyond", with([](auto& h) { h.offset = 1; }), 140, StatusCode::kInvalidArgument},
      {"offset wraps", with([](auto& h) { h.offset = ~0ull; }), 140, StatusCode::kInvalidArgument},
      {"small and not last", with([](auto& h) { h.total = 101; }), 140,
       StatusCode::kInvalidArgument},
      {"too large", with([](auto& h) { h.total = h.payload = kMaxPayloadBytes + 1; }),
       kMaxMessageBytes + 1, StatusCode::kResourceExhausted},
  };
  for (const BadHeader& bad : cases) {
    EXPECT_EQ(DecodeHeader(HeaderBytes(bad.header), bad.message_bytes).status().code(), bad.code)
        << bad.name;
  }
  ASSERT_TRUE(DecodeHeader(HeaderBytes(good), 140).ok());
  for (std::size_t size = 0; size < kHeaderBytes; ++size) {
    const auto bytes = HeaderBytes(good);
    EXPECT_EQ(DecodeHeader(std::span(bytes).first(size), size).status().code(),
              StatusCode::kInvalidArgument);
  }
  for (const std::size_t byte : {0, 1, 2, 3, 36, 39}) {
    auto bytes = HeaderBytes(good);
    bytes[byte] ^= std::byte{0x10};
    EXPECT_EQ(DecodeHeader(bytes, 140).status().code(), StatusCode::kInvalidArgument) << byte;
  }
}

TEST(Frame, HelloRoundTripsAndRefusesEveryOtherLength) {
  Hello hello{7, 8, 9, 1, 3, 10, {16, 1, 4096}};
  auto bytes = EncodeHello(hello);
  const auto decoded = DecodeHello(bytes);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->job_epoch, 7u);
  EXPECT_EQ(decoded->incarnation, 8u);
  EXPECT_EQ(decoded->worker, 9u);
  EXPECT_EQ(decoded->ps, 1u);
  EXPECT_EQ(decoded->ps_count, 3u);
  EXPECT_EQ(decoded->slot_bits, 10u);
  EXPECT_EQ(decoded->dims, hello.dims);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeHello(std::span(bytes).first(size)).ok()) << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(DecodeHello(bytes).ok());
}

TEST(Frame, HelloWithAHugeTableCountIsRefused) {
  auto bytes = EncodeHello({7, 8, 9, 1, 3, 10, {16}});
  std::memset(bytes.data() + 32, 0xff, 4);
  EXPECT_EQ(DecodeHello(bytes).status().code(), StatusCode::kResourceExhausted);
}

DenseRegistration Registration() {
  return {7, {{"mlp.0.weight", {624, 400}, true, false, 0.1f}, {"b", {}, false, true, 0.5f}}};
}

TEST(Frame, DenseRegistrationRoundTripsAndRefusesEveryOtherLength) {
  auto bytes = EncodeDenseRegistration(Registration());
  const auto decoded = DecodeDenseRegistration(bytes, {});
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  ASSERT_EQ(decoded->tensors.size(), 2u);
  EXPECT_EQ(decoded->tensors[0].name, "mlp.0.weight");
  EXPECT_EQ(decoded->tensors[0].Floats(), 249600u);
  EXPECT_TRUE(decoded->tensors[0].is_weight);
  EXPECT_FALSE(decoded->tensors[0].is_statistic);
  EXPECT_EQ(decoded->tensors[1].name, "b");
  EXPECT_TRUE(decoded->tensors[1].is_statistic);
  EXPECT_EQ(decoded->tensors[1].momentum, 0.5f);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeDenseRegistration(std::span(bytes).first(size), {}).status().code(),
              StatusCode::kInvalidArgument)
        << size;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(DecodeDenseRegistration(bytes, {}).ok());
}

TEST(Frame, DenseRegistrationBeyondTheLimitsIsRefused) {
  const auto code = [](const DenseRegistration& registration, const FrameLimits& limits) {
    return DecodeDenseRegistration(EncodeDenseRegistration(registration), limits).status().code();
  };
  EXPECT_EQ(code(Registration(), {.max_dense_floats = 249600}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code(Registration(), {.max_dense_floats = 249601}), StatusCode::kOk);
  EXPECT_EQ(code(Registration(), {.max_tensors = 1}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code(Registration(), {.max_rank = 1}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Registration(), {.max_name_bytes = 11}), StatusCode::kInvalidArgument);
  const std::vector<std::uint32_t> huge(8, 0xffffffff);
  EXPECT_EQ(code({7, {{"w", huge}}}, {}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code({7, {{"w", {3, 0}}}}, {}), StatusCode::kInvalidArgument);
  EXPECT_EQ(code({7, {{"", {3}}}}, {}), StatusCode::kInvalidArgument);
}

const std::vector<std::uint32_t> kDims = {16, 1, 3};

StepHead Step() {
  StepHead head;
  head.job_epoch = 7;
  head.client = 5;
  head.sequence = 3;
  head.learning_rate_scale = 0.25;
  head.dense_floats = 100;
  head.step = 9;
  head.tables = {{2, 3, 10}, {0, 16, 7}};
  return head;
}

Result<StepHead> Decode(FrameKind kind, const StepHead& head, const FrameLimits& limits = {}) {
  return DecodeStepHead(kind, EncodeStepHead(head), head.BodyBytes(kind), kDims, limits);
}

TEST(Frame, StepRoundTrips) {
  const StepHead head = Step();
  EXPECT_EQ(head.BodyBytes(FrameKind::kPull), 56u + 2 * 16 + 17 * 8);
  EXPECT_EQ(head.BodyBytes(FrameKind::kPush), 56u + 2 * 16 + 17 * 8 + (30 + 112 + 100) * 4);
  const auto decoded = Decode(FrameKind::kPush, head);
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(decoded->client, 5u);
  EXPECT_EQ(decoded->sequence, 3u);
  EXPECT_EQ(decoded->learning_rate_scale, 0.25);
  EXPECT_EQ(decoded->dense_floats, 100u);
  EXPECT_EQ(decoded->step, 9u);
  ASSERT_EQ(decoded->tables.size(), 2u);
  EXPECT_EQ(decoded->tables[1].keys, 7u);
}

TEST(Frame, StepCutAnywhereIsRefused) {
  const StepHead head = Step();
  const auto bytes = EncodeStepHead(head);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeStepHead(FrameKind::kPush, std::span(bytes).first(size),
                             head.BodyBytes(FrameKind::kPush), kDims, {})
                  .status()
                  .code(),
              StatusCode::kInvalidArgument)
        << size;
  }
  for (const std::uint64_t total : {std::uint64_t{0}, head.BodyBytes(FrameKind::kPush) - 1,
                                    head.BodyBytes(FrameKind::kPush) + 1, ~std::uint64_t{0}}) {
    EXPECT_EQ(DecodeStepHead(FrameKind::kPush, bytes, total, kDims, {}).status().code(),
              StatusCode::kInvalidArgument);
  }
}

TEST(Frame, StepsThatLieAreRefusedByTheirOwnCode) {
  const auto code = [](FrameKind kind, auto change, const FrameLimits& limits = {}) {
    StepHead head = Step();
    change(head);
    return Decode(kind, head, limits).status().code();
  };
  const auto push = FrameKind::kPush;
  const auto pull = FrameKind::kPull;
  using Head = StepHead;
  EXPECT_EQ(code(push, [](Head& h) { h.tables[0].table = 3; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.tables[0].dim = 4; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.tables[0].dim = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.tables[1] = h.tables[0]; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.sequence = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.client = 0; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.learning_rate_scale = NAN; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(push, [](Head& h) { h.learning_rate_scale = -1; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(pull, [](Head& h) { h.mode = StepMode{2}; }), StatusCode::kInvalidArgument);
  EXPECT_EQ(code(FrameKind::kInitDense, [](Head&) {}), StatusCode::kInvalidArgument);
  // Counts whose product with 8, 4 or the dim wraps.
  for (const std::uint64_t huge : {1ull << 24, 1ull << 58, 1ull << 60, 1ull << 61, ~0ull}) {
    EXPECT_EQ(code(pull, [&](Head& h) { h.tables[0].keys = huge; }),
              StatusCode::kResourceExhausted);
    EXPECT_EQ(code(push, [&](Head& h) { h.tables[1].keys = huge; }),
              StatusCode::kResourceExhausted);
  }
  for (const std::uint64_t huge : {1ull << 29, 1ull << 62, ~0ull}) {
    EXPECT_EQ(code(push, [&](Head& h) { h.dense_floats = huge; }), StatusCode::kResourceExhausted);
  }
  EXPECT_EQ(code(pull, [](Head&) {}, {.max_keys = 16}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code(pull, [](Head&) {}, {.max_keys = 17}), StatusCode::kOk);
  EXPECT_EQ(code(pull, [](Head&) {}, {.max_body_bytes = 967}), StatusCode::kResourceExhausted);
  EXPECT_EQ(code(pull, [](Head&) {}, {.max_body_bytes = 968}), StatusCode::kOk);
}

TEST(Frame, TableCountBeyondTheLimitIsRefusedWithoutReadingThem) {
  auto bytes = EncodeStepHead(Step());
  for (const std::uint32_t tables : {kMaxTables + 1, 0xffffffffu}) {
    std::memcpy(bytes.data() + 36, &tables, 4);
    EXPECT_EQ(StepHeadsBytes(bytes), kStepHeadBytes + kMaxTables * kTableHeadBytes);
    EXPECT_EQ(DecodeStepHead(FrameKind::kPush, bytes, 1000, kDims, {}).status().code(),
              StatusCode::kResourceExhausted);
  }
}

TEST(Frame, RandomBytesNeverPassForAStepOrALayout) {
  constexpr std::uint64_t kSeed = 20261121;
  Rng rng(kSeed, 0);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes(rng.NextBelow(200));
    for (std::byte& b : bytes) b = static_cast<std::byte>(rng.NextU32());
    EXPECT_FALSE(DecodeStepHead(FrameKind::kPush, bytes, bytes.size(), kDims, {}).ok()) << kSeed;
    EXPECT_FALSE(DecodeDenseRegistration(bytes, {}).ok()) << kSeed;
    EXPECT_FALSE(DecodeHello(bytes).ok()) << kSeed;
    EXPECT_FALSE(DecodeHeader(bytes, bytes.size()).ok()) << kSeed;
  }
}

TEST(Frame, ClientsOfOtherEpochsWorkersAndIncarnationsDiffer) {
  const std::uint64_t id = ClientIdOf(1, 2, 3);
  EXPECT_EQ(id, ClientIdOf(1, 2, 3));
  EXPECT_NE(id, ClientIdOf(2, 2, 3));
  EXPECT_NE(id, ClientIdOf(1, 3, 3));
  EXPECT_NE(id, ClientIdOf(1, 2, 4));
  EXPECT_NE(ClientIdOf(0, 0, 0), 0u);
}

}  // namespace
}  // namespace cairn::rpc
