// Frames (common/rpc/frame.h) as gRPC messages: bodies are sent as slices that point into their
// owner's memory, and received slice by slice, copied once to where they belong.
// Thread-safety: none; one user at a time.
#pragma once

#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/rpc/frame.h"

namespace cairn::rpc {

// Reads one received message front to back.
class MessageReader {
 public:
  explicit MessageReader(const grpc::ByteBuffer& message);

  // The frame's header; first call.
  Result<FrameHeader> ReadHeader();
  // The next contiguous bytes, at most `max`; empty at the end. Valid while this lives.
  std::span<const std::byte> NextRun(std::size_t max = SIZE_MAX);
  // Copies the next out.size() bytes, or as many as are left; how many.
  std::size_t CopyTo(std::span<std::byte> out);
  std::size_t left() const { return left_; }

 private:
  std::vector<grpc::Slice> slices_;
  std::size_t slice_ = 0;
  std::size_t offset_ = 0;  // in slices_[slice_]
  std::size_t left_ = 0;
};

// One body on its way out.
class OutgoingBody {
 public:
  // The body is the bytes of `pieces` joined. `owner` is kept until the transport has let go of the
  // last slice, which may be after the write was reported done and after the stream ended; the
  // pieces must stay as they are until then.
  OutgoingBody(FrameKind kind, std::uint16_t code, std::uint64_t request,
               std::vector<std::span<const std::byte>> pieces, std::shared_ptr<void> owner);

  // Cuts the next frame; not after done().
  grpc::ByteBuffer NextFrame();
  bool done() const { return started_ && offset_ == total_; }
  std::uint64_t request() const { return request_; }

 private:
  FrameKind kind_;
  std::uint16_t code_;
  std::uint64_t request_;
  std::vector<std::span<const std::byte>> pieces_;
  std::shared_ptr<void> owner_;
  std::uint64_t total_ = 0;
  std::uint64_t offset_ = 0;
  std::size_t piece_ = 0;
  std::size_t piece_offset_ = 0;
  bool started_ = false;
};

// Bodies that share a stream take turns, frame by frame, so that a short one need not wait for a
// long one.
class OutgoingQueue {
 public:
  void Add(OutgoingBody body) { bodies_.push_back(std::move(body)); }
  bool empty() const { return bodies_.empty(); }
  // The next frame, and whether it ends its body. Not when empty.
  grpc::ByteBuffer Next(bool* ends_body);
  void Clear() { bodies_.clear(); }

 private:
  std::deque<OutgoingBody> bodies_;
};

// A body that is `text` and owns it.
OutgoingBody MakeTextBody(FrameKind kind, std::uint16_t code, std::uint64_t request,
                          std::string text);

}  // namespace cairn::rpc
