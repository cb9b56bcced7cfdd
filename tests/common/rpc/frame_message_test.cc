#include "common/rpc/frame_message.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "common/math/rng.h"
#include "common/rpc/buffer_pool.h"

namespace cairn::rpc {
namespace {

std::vector<std::byte> RandomBytes(std::size_t count, std::uint64_t seed) {
  std::vector<std::byte> bytes(count);
  Rng rng(seed, 3);
  for (std::byte& b : bytes) b = static_cast<std::byte>(rng.NextU32());
  return bytes;
}

// Appends a frame's payload to the body it belongs to, as a receiver does.
FrameHeader Receive(const grpc::ByteBuffer& message, std::vector<std::byte>* body) {
  EXPECT_LE(message.Length(), kMaxMessageBytes);
  MessageReader reader(message);
  const auto header = reader.ReadHeader();
  EXPECT_TRUE(header.ok()) << header.status();
  EXPECT_EQ(header->offset, body->size());
  const std::size_t at = body->size();
  body->resize(at + reader.left());
  EXPECT_EQ(reader.CopyTo(std::span(*body).subspan(at)), header->payload);
  EXPECT_EQ(reader.left(), 0u);
  EXPECT_TRUE(reader.NextRun().empty());
  return *header;
}

TEST(FrameMessage, BodiesOfAnySizeArriveWhole) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{511}, std::size_t{512}, kMaxPayloadBytes - 1,
        kMaxPayloadBytes, kMaxPayloadBytes + 1, 3 * kMaxPayloadBytes + 17}) {
    const auto body = RandomBytes(size, size);
    // Pieces of odd lengths, empty ones among them.
    std::vector<std::span<const std::byte>> pieces;
    Rng rng(size, 4);
    for (std::size_t at = 0; at < size;) {
      const std::size_t piece = std::min<std::size_t>(rng.NextBelow(200000), size - at);
      pieces.push_back(std::span(body).subspan(at, piece));
      at += piece;
    }
    auto owner = std::make_shared<int>(0);
    OutgoingBody out(FrameKind::kPush, 0, 42, pieces, owner);
    std::vector<std::byte> received;
    std::size_t frames = 0;
    while (!out.done()) {
      const FrameHeader header = Receive(out.NextFrame(), &received);
      EXPECT_EQ(header.request, 42u);
      EXPECT_EQ(header.total, size);
      EXPECT_EQ(header.IsLast(), out.done());
      ++frames;
    }
    EXPECT_EQ(received, body);
    EXPECT_EQ(frames, std::max<std::size_t>(1, (size + kMaxPayloadBytes - 1) / kMaxPayloadBytes));
  }
}

TEST(FrameMessage, OwnerIsKeptUntilTheLastSliceIsGone) {
  const auto body = RandomBytes(3 << 20, 1);
  auto owner = std::make_shared<int>(0);
  const std::weak_ptr<int> watch = owner;
  std::vector<grpc::ByteBuffer> frames;
  {
    OutgoingBody out(FrameKind::kReply, 0, 1, {body}, std::move(owner));
    while (!out.done()) frames.push_back(out.NextFrame());
  }
  while (!frames.empty()) {
    EXPECT_FALSE(watch.expired());
    frames.pop_back();
  }
  EXPECT_TRUE(watch.expired());
}

TEST(FrameMessage, BodiesTakeTurns) {
  const auto large = RandomBytes(5 * kMaxPayloadBytes, 1);
  const auto small = RandomBytes(10, 2);
  OutgoingQueue queue;
  queue.Add(OutgoingBody(FrameKind::kPush, 0, 1, {large}, nullptr));
  queue.Add(OutgoingBody(FrameKind::kPull, 0, 2, {small}, nullptr));
  std::map<std::uint64_t, std::vector<std::byte>> received;
  std::vector<std::uint64_t> ended;
  while (!queue.empty()) {
    bool ends_body = false;
    const grpc::ByteBuffer message = queue.Next(&ends_body);
    MessageReader peek(message);
    const std::uint64_t id = peek.ReadHeader()->request;
    Receive(message, &received[id]);
    if (ends_body) ended.push_back(id);
  }
  EXPECT_EQ(ended, (std::vector<std::uint64_t>{2, 1}));
  EXPECT_EQ(received[1], large);
  EXPECT_EQ(received[2], small);
}

TEST(FrameMessage, ReaderCrossesSliceBorders) {
  const auto body = RandomBytes(1000, 5);
  std::vector<grpc::Slice> slices;
  std::vector<std::byte> message(kHeaderBytes);
  EncodeHeader({FrameKind::kPull, 0, 9, 1000, 0, 1000}, message.data());
  message.insert(message.end(), body.begin(), body.end());
  for (std::size_t at = 0; at < message.size(); at += 7) {
    slices.emplace_back(message.data() + at, std::min<std::size_t>(7, message.size() - at));
  }
  std::vector<std::byte> received;
  EXPECT_EQ(Receive(grpc::ByteBuffer(slices.data(), slices.size()), &received).request, 9u);
  EXPECT_EQ(received, body);
}

TEST(FrameMessage, EmptyMessageHasNoHeader) {
  MessageReader reader{grpc::ByteBuffer()};
  EXPECT_EQ(reader.ReadHeader().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(BufferPool, LendsAlignedBuffersUpToItsLimitAndReusesThem) {
  auto pool = BufferPool::Make(10 << 20, 100 << 20);
  auto a = pool->Take(6 << 20);
  ASSERT_NE(a, nullptr);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(a->data()) % 64, 0u);
  EXPECT_EQ(a->size(), std::size_t{6} << 20);
  EXPECT_EQ(pool->Take(5 << 20), nullptr);
  EXPECT_EQ(pool->Take(SIZE_MAX), nullptr);
  EXPECT_NE(pool->Take(4 << 20), nullptr);
  std::byte* const memory = a->data();
  a.reset();
  EXPECT_EQ(pool->used_bytes(), 0u);
  EXPECT_EQ(pool->Take(7 << 20)->data(), memory);
}

TEST(BufferPool, BufferMayOutliveThePool) {
  auto pool = BufferPool::Make(1 << 20, 1 << 20);
  auto buffer = pool->Take(100);
  pool.reset();
  std::memset(buffer->data(), 1, 100);
  buffer.reset();
}

}  // namespace
}  // namespace cairn::rpc
