// What a data stream sends that no client of ours would: every message is answered with a specific
// status, changes nothing, and a normal client is served afterwards.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <functional>
#include <thread>

#include "common/math/rng.h"
#include "common/rpc/frame.h"
#include "tests/testing/ps_fleet.h"
#include "tests/testing/raw_exchange.h"

namespace cairn::ps {
namespace {

using absl::StatusCode;
using rpc::FrameHeader;
using rpc::FrameKind;
using rpc::StepHead;
using testing::FakePsCore;
using testing::PsFleet;
using testing::RawExchange;

const std::vector<std::uint32_t> kDims = {16, 1, 3};

std::string Text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A message with any header.
std::string Message(const FrameHeader& header, std::string_view payload) {
  std::string message(rpc::kHeaderBytes, '\0');
  rpc::EncodeHeader(header, reinterpret_cast<std::byte*>(message.data()));
  return message.append(payload);
}
// A whole body in one message.
std::string Whole(FrameKind kind, std::uint64_t request, std::string_view body) {
  const auto size = static_cast<std::uint32_t>(body.size());
  return Message({kind, 0, request, size, 0, size}, body);
}
std::string Part(FrameKind kind, std::uint64_t request, std::uint64_t total, std::uint64_t offset,
                 std::size_t size) {
  return Message({kind, 0, request, total, offset, static_cast<std::uint32_t>(size)},
                 std::string(size, 'x'));
}

class HostileClient : public ::testing::Test {
 protected:
  HostileClient() : fleet_(2, kDims, Options()) {
    grpc::ChannelArguments args;
    args.SetInt("grpc.testing.fixed_reconnect_backoff_ms", 20);
    channel_ =
        grpc::CreateCustomChannel(fleet_.address(0), grpc::InsecureChannelCredentials(), args);
    for (std::uint64_t key = 1; own_keys_.size() < 8; ++key) {
      (fleet_.core(0).Owns(key) ? own_keys_ : foreign_keys_).push_back(key);
    }
  }

  static PsServerOptions Options() {
    PsServerOptions options;
    options.stream_limits.max_unfinished = 4;
    options.stream_limits.max_streams = 20;
    options.frame_limits.max_body_bytes = 32 << 20;
    return options;
  }

  static rpc::Hello HelloOf(std::uint32_t worker = 3) {
    return {PsFleet::kEpoch, 1, worker, 0, 2, PsFleet::kSlotBits, kDims};
  }
  static std::uint64_t ClientId() { return rpc::ClientIdOf(PsFleet::kEpoch, 3, 1); }

  std::unique_ptr<RawExchange> Open() {
    auto stream = std::make_unique<RawExchange>(channel_);
    stream->Write(Whole(FrameKind::kHello, 1, Text(rpc::EncodeHello(HelloOf()))));
    const auto reply = stream->Read();
    // A server that is slow to let go of an earlier stream may have none left for this one.
    if (reply.status().code() == StatusCode::kOutOfRange &&
        stream->Finish().code() == StatusCode::kResourceExhausted) {
      std::this_thread::yield();
      return Open();
    }
    EXPECT_TRUE(reply.ok() && reply->status.ok()) << reply.status();
    return stream;
  }

  // A step of table 0 with the first two keys of this server and gradients of 1.
  StepHead Step() const {
    StepHead head;
    head.job_epoch = PsFleet::kEpoch;
    head.client = ClientId();
    head.sequence = 1;
    head.tables = {{0, 16, 2}};
    return head;
  }
  std::string StepBody(FrameKind kind, const StepHead& head, std::vector<std::uint64_t> keys,
                       float gradient = 1) const {
    std::string body = Text(rpc::EncodeStepHead(head));
    body.append(reinterpret_cast<const char*>(keys.data()), keys.size() * 8);
    if (kind != FrameKind::kPull) {
      const std::vector<float> floats(keys.size() * 16, gradient);
      body.append(reinterpret_cast<const char*>(floats.data()), floats.size() * 4);
    }
    return body;
  }
  std::string Good(FrameKind kind, std::uint64_t request = 2) const {
    return Whole(kind, request, StepBody(kind, Step(), {own_keys_[0], own_keys_[1]}));
  }

  void ExpectUntouched() {
    EXPECT_EQ(fleet_.core(0).rows(), 0u);
    EXPECT_EQ(fleet_.core(0).pushes(), 0u);
    auto client = worker::MakeGrpcPsClient(fleet_.ClientOptions(9));
    ASSERT_TRUE(client.ok()) << client.status();
    std::vector<float> values(8);
    const worker::TablePull pull{1, own_keys_, values.data()};
    EXPECT_EQ((*client)->Pull({worker::PullMode::kTrain, {&pull, 1}, {}}), OkStatus());
    EXPECT_EQ(values[5], FakePsCore::InitialValue(1, own_keys_[5], 0));
  }

  // Sends `messages` on a stream after HELLO; how the stream ends.
  StatusCode StreamCode(const std::vector<std::string>& messages) {
    auto stream = Open();
    for (const std::string& message : messages) stream->Write(message);
    stream->WritesDone();
    return stream->Finish().code();
  }
  // The code that the request gets, on a stream that goes on.
  StatusCode ReplyCode(const std::vector<std::string>& messages) {
    auto stream = Open();
    for (const std::string& message : messages) stream->Write(message);
    const auto reply = stream->Read();
    if (!reply.ok())
      return StatusCode::kDoNotUseReservedForFutureExpansionUseDefaultInSwitchInstead_;
    stream->Write(Good(FrameKind::kPull, 50));
    const auto next = stream->Read();
    EXPECT_TRUE(next.ok() && next->status.ok()) << "the stream did not go on";
    return reply->status.code();
  }

  PsFleet fleet_;
  std::shared_ptr<grpc::Channel> channel_;
  std::vector<std::uint64_t> own_keys_, foreign_keys_;
};

TEST_F(HostileClient, BreachOfTheFramingEndsTheStream) {
  const std::string good = Good(FrameKind::kPull);
  const auto flipped = [&good](std::size_t byte) {
    std::string message = good;
    message[byte] = static_cast<char>(message[byte] ^ 0x40);
    return message;
  };
  const std::size_t k64 = rpc::kMinPayloadBytes;
  const struct {
    const char* name;
    std::vector<std::string> messages;
    StatusCode code;
  } cases[] = {
      {"empty message", {""}, StatusCode::kInvalidArgument},
      {"short header", {good.substr(0, 39)}, StatusCode::kInvalidArgument},
      {"magic", {flipped(0)}, StatusCode::kInvalidArgument},
      {"version", {flipped(3)}, StatusCode::kInvalidArgument},
      {"kind", {flipped(4)}, StatusCode::kInvalidArgument},
      {"code", {flipped(6)}, StatusCode::kInvalidArgument},
      {"reserved", {flipped(36)}, StatusCode::kInvalidArgument},
      {"payload length", {flipped(32)}, StatusCode::kInvalidArgument},
      {"reply to a server", {Whole(FrameKind::kReply, 2, "x")}, StatusCode::kInvalidArgument},
      {"HELLO twice",
       {Whole(FrameKind::kHello, 2, Text(rpc::EncodeHello(HelloOf())))},
       StatusCode::kFailedPrecondition},
      {"small frame in the middle",
       {Part(FrameKind::kPush, 2, 100000, 0, 100)},
       StatusCode::kInvalidArgument},
      {"continues nothing",
       {Part(FrameKind::kPush, 2, 200000, 65536, k64)},
       StatusCode::kInvalidArgument},
      {"gap",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPush, 2, 300000, 140000, k64)},
       StatusCode::kInvalidArgument},
      {"overlap",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPush, 2, 300000, 60000, k64)},
       StatusCode::kInvalidArgument},
      {"begins twice",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPush, 2, 300000, 0, k64)},
       StatusCode::kInvalidArgument},
      {"other total",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPush, 2, 300001, k64, k64)},
       StatusCode::kInvalidArgument},
      {"other kind",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPull, 2, 300000, k64, k64)},
       StatusCode::kInvalidArgument},
      {"many unfinished",
       {Part(FrameKind::kPush, 2, 300000, 0, k64), Part(FrameKind::kPush, 3, 300000, 0, k64),
        Part(FrameKind::kPush, 4, 300000, 0, k64), Part(FrameKind::kPush, 5, 300000, 0, k64),
        Part(FrameKind::kPush, 6, 300000, 0, k64)},
       StatusCode::kResourceExhausted},
      {"message above the limit",
       {std::string(rpc::kMaxMessageBytes + 1, 'x')},
       StatusCode::kResourceExhausted},
  };
  for (const auto& hostile : cases) {
    EXPECT_EQ(StreamCode(hostile.messages), hostile.code) << hostile.name;
  }
  ExpectUntouched();
}

TEST_F(HostileClient, MessageCutAtEveryByteEndsTheStream) {
  for (const FrameKind kind : {FrameKind::kPull, FrameKind::kPush}) {
    const std::string good = Good(kind);
    for (std::size_t size = 0; size < good.size(); size += size < 120 ? 1 : 13) {
      EXPECT_EQ(StreamCode({good.substr(0, size)}), StatusCode::kInvalidArgument) << size;
    }
  }
  ExpectUntouched();
}

TEST_F(HostileClient, BodyOfEveryOtherLengthIsRefused) {
  auto stream = Open();
  std::uint64_t request = 10;
  for (const FrameKind kind :
       {FrameKind::kPull, FrameKind::kPush, FrameKind::kInitDense, FrameKind::kRegisterDense}) {
    const std::string body = StepBody(kind, Step(), {own_keys_[0], own_keys_[1]});
    for (std::size_t size = 0; size <= body.size() + 8; ++size) {
      if (size == body.size() && (kind == FrameKind::kPull || kind == FrameKind::kPush)) continue;
      std::string cut = body + "12345678";
      cut.resize(size);
      ASSERT_TRUE(stream->Write(Whole(kind, ++request, cut)));
      const auto reply = stream->Read();
      ASSERT_TRUE(reply.ok()) << reply.status();
      EXPECT_EQ(reply->request, request);
      EXPECT_EQ(reply->status.code(), StatusCode::kInvalidArgument)
          << rpc::KindName(kind) << " " << size << " " << reply->status;
    }
  }
  stream.reset();
  ExpectUntouched();
}

TEST_F(HostileClient, ContentThatLiesIsRefusedByItsOwnCode) {
  const std::vector<std::uint64_t> own = {own_keys_[0], own_keys_[1]};
  const auto push = [&](auto change) {
    StepHead head = Step();
    change(head);
    return std::vector<std::string>{
        Whole(FrameKind::kPush, 2, StepBody(FrameKind::kPush, head, own))};
  };
  const struct {
    const char* name;
    std::vector<std::string> messages;
    StatusCode code;
  } cases[] = {
      {"epoch before", push([](StepHead& h) { --h.job_epoch; }), StatusCode::kAborted},
      {"other client", push([](StepHead& h) { ++h.client; }), StatusCode::kPermissionDenied},
      {"no sequence", push([](StepHead& h) { h.sequence = 0; }), StatusCode::kInvalidArgument},
      {"gap in the sequence", push([](StepHead& h) { h.sequence = 2; }),
       StatusCode::kFailedPrecondition},
      {"unknown table", push([](StepHead& h) { h.tables[0].table = 3; }),
       StatusCode::kInvalidArgument},
      {"wrong dim", push([](StepHead& h) { h.tables[0].dim = 15; }), StatusCode::kInvalidArgument},
      {"10^8 keys", push([](StepHead& h) { h.tables[0].keys = 100000000; }),
       StatusCode::kResourceExhausted},
      {"2^61 keys", push([](StepHead& h) { h.tables[0].keys = 1ull << 61; }),
       StatusCode::kResourceExhausted},
      {"keys missing", push([](StepHead& h) { h.tables[0].keys = 3; }),
       StatusCode::kInvalidArgument},
      {"rate", push([](StepHead& h) { h.learning_rate_scale = NAN; }),
       StatusCode::kInvalidArgument},
      {"2^62 dense floats", push([](StepHead& h) { h.dense_floats = 1ull << 62; }),
       StatusCode::kResourceExhausted},
      {"foreign slot",
       {Whole(FrameKind::kPush, 2,
              StepBody(FrameKind::kPush, Step(), {own_keys_[0], foreign_keys_[0]}))},
       StatusCode::kInvalidArgument},
      {"foreign slot in a pull",
       {Whole(FrameKind::kPull, 2,
              StepBody(FrameKind::kPull, Step(), {own_keys_[0], foreign_keys_[0]}))},
       StatusCode::kInvalidArgument},
      {"gradient",
       {Whole(FrameKind::kPush, 2, StepBody(FrameKind::kPush, Step(), own, NAN))},
       StatusCode::kInvalidArgument},
      {"2^40 bytes",
       {Part(FrameKind::kPush, 2, 1ull << 40, 0, rpc::kMinPayloadBytes)},
       StatusCode::kResourceExhausted},
      {"2^63 bytes of a layout",
       {Part(FrameKind::kRegisterDense, 2, 1ull << 63, 0, rpc::kMinPayloadBytes)},
       StatusCode::kResourceExhausted},
      {"nonsense of several frames",
       {Part(FrameKind::kPush, 2, 200000, 0, 100000),
        Part(FrameKind::kPush, 2, 200000, 100000, 100000)},
       StatusCode::kResourceExhausted},
  };
  for (const auto& hostile : cases) {
    EXPECT_EQ(ReplyCode(hostile.messages), hostile.code) << hostile.name;
  }
  StepHead dense = Step();
  dense.tables.clear();
  dense.dense_floats = 4;
  const std::string body = Text(rpc::EncodeStepHead(dense)) + std::string(16, '\0');
  EXPECT_EQ(ReplyCode({Whole(FrameKind::kPush, 2, body)}), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReplyCode({Whole(FrameKind::kInitDense, 2, body)}), StatusCode::kFailedPrecondition);
  ExpectUntouched();
}

TEST_F(HostileClient, PullWhoseReplyWouldBeTooLargeIsRefused) {
  // 2 MiB of keys ask for 16 * 4 bytes each: more than max_body_bytes.
  StepHead head = Step();
  head.tables[0].keys = 600000;
  std::string body = Text(rpc::EncodeStepHead(head));
  body.resize(head.BodyBytes(FrameKind::kPull));
  auto stream = Open();
  for (std::size_t at = 0; at < body.size(); at += 500000) {
    const std::string part = body.substr(at, 500000);
    ASSERT_TRUE(stream->Write(Message(
        {FrameKind::kPull, 0, 2, body.size(), at, static_cast<std::uint32_t>(part.size())}, part)));
  }
  const auto reply = stream->Read();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_EQ(reply->status.code(), StatusCode::kResourceExhausted);
}

TEST_F(HostileClient, NothingIsServedBeforeHello) {
  RawExchange stream(channel_);
  stream.Write(Good(FrameKind::kPush));
  EXPECT_EQ(stream.Finish().code(), StatusCode::kFailedPrecondition);
  RawExchange other(channel_, "/cairn.proto.PsData/Other");
  EXPECT_EQ(other.Finish().code(), StatusCode::kUnimplemented);
  ExpectUntouched();
}

TEST_F(HostileClient, RefusedHelloMayBeRepaired) {
  RawExchange stream(channel_);
  auto hello = HelloOf();
  hello.job_epoch = 1;
  stream.Write(Whole(FrameKind::kHello, 1, Text(rpc::EncodeHello(hello))));
  EXPECT_EQ(stream.Read()->status.code(), StatusCode::kAborted);
  stream.Write(Whole(FrameKind::kHello, 2, "x"));
  EXPECT_EQ(stream.Read()->status.code(), StatusCode::kInvalidArgument);
  stream.Write(Whole(FrameKind::kHello, 3, Text(rpc::EncodeHello(HelloOf()))));
  EXPECT_EQ(stream.Read()->status, OkStatus());
  stream.Write(Good(FrameKind::kPull));
  EXPECT_EQ(stream.Read()->body.size(), 2u * 16 * 4);
}

TEST_F(HostileClient, StreamsBeyondTheLimitAreRefused) {
  std::vector<std::unique_ptr<RawExchange>> streams;
  for (int i = 0; i < 20; ++i) streams.push_back(Open());
  RawExchange extra(channel_);
  EXPECT_EQ(extra.Finish().code(), StatusCode::kResourceExhausted);
  streams.clear();
  // The server learns of each end a little later.
  Status made;
  for (int attempt = 0; attempt < 1000; ++attempt) {
    made = worker::MakeGrpcPsClient(fleet_.ClientOptions(8)).status();
    if (made.code() != StatusCode::kResourceExhausted) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_EQ(made, OkStatus());
  ExpectUntouched();
}

TEST_F(HostileClient, ClientThatReadsNothingIsNotReadFromAndHarmsNobody) {
  auto stream = Open();
  StepHead head = Step();
  head.tables[0].keys = 1000;
  std::vector<std::uint64_t> keys;
  for (std::uint64_t key = 1; keys.size() < 1000; ++key) {
    if (fleet_.core(0).Owns(key)) keys.push_back(key);
  }
  // Fewer than the server may hold, so that the writes end; no reply is read.
  for (std::uint64_t request = 2; request < 25; ++request) {
    ASSERT_TRUE(
        stream->Write(Whole(FrameKind::kPull, request, StepBody(FrameKind::kPull, head, keys))));
  }
  ExpectUntouched();
}

TEST_F(HostileClient, RandomMessagesHarmNothing) {
  constexpr std::uint64_t kSeed = 4711;
  Rng rng(kSeed, 0);
  for (int round = 0; round < 300; ++round) {
    std::string message = Good(FrameKind::kPull);
    if (rng.NextBelow(3) == 0) {
      message.resize(rng.NextBelow(400));
      for (char& c : message) c = static_cast<char>(rng.NextU32());
    } else {
      for (std::uint64_t flips = 1 + rng.NextBelow(4); flips > 0; --flips) {
        message[rng.NextBelow(message.size())] ^= static_cast<char>(1u << rng.NextBelow(8));
      }
    }
    auto stream = Open();
    stream->Write(message);
    stream->WritesDone();
    const Status status = stream->Finish();
    EXPECT_TRUE(status.ok() || status.code() == StatusCode::kInvalidArgument ||
                status.code() == StatusCode::kFailedPrecondition ||
                status.code() == StatusCode::kResourceExhausted)
        << status << " seed " << kSeed << " round " << round;
  }
  ExpectUntouched();
}

TEST_F(HostileClient, ClientsThatVanishLeaveNothingBehind) {
  for (int round = 0; round < 50; ++round) {
    auto stream = Open();
    stream->Write(Part(FrameKind::kPush, 2, 300000, 0, rpc::kMinPayloadBytes));
    stream->Write(Good(FrameKind::kPull));
    (void)stream->Finish(true);
  }
  // Were streams left over, the limit of 20 would be reached.
  ExpectUntouched();
}

}  // namespace
}  // namespace cairn::ps
