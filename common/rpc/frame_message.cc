#include "common/rpc/frame_message.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

namespace cairn::rpc {
namespace {

// Shorter runs are copied together: a slice of its own costs more.
constexpr std::size_t kCopyBelowBytes = 512;

void DropOwner(void* owner) { delete static_cast<std::shared_ptr<void>*>(owner); }

grpc::Slice BorrowedSlice(std::span<const std::byte> bytes, const std::shared_ptr<void>& owner) {
  // The transport only reads; its signature has no const.
  return grpc::Slice(const_cast<std::byte*>(bytes.data()), bytes.size(), &DropOwner,
                     new std::shared_ptr<void>(owner));
}

}  // namespace

MessageReader::MessageReader(const grpc::ByteBuffer& message) {
  if (message.Valid() && message.Dump(&slices_).ok()) left_ = message.Length();
}

Result<FrameHeader> MessageReader::ReadHeader() {
  std::byte header[kHeaderBytes];
  const std::size_t message_bytes = left_;
  const std::size_t read = CopyTo(header);
  return DecodeHeader(std::span(header, read), message_bytes);
}

std::span<const std::byte> MessageReader::NextRun(std::size_t max) {
  while (slice_ < slices_.size() && offset_ == slices_[slice_].size()) {
    ++slice_;
    offset_ = 0;
  }
  if (slice_ == slices_.size()) return {};
  const grpc::Slice& slice = slices_[slice_];
  const std::size_t count = std::min(max, slice.size() - offset_);
  const auto* from = reinterpret_cast<const std::byte*>(slice.begin()) + offset_;
  offset_ += count;
  left_ -= count;
  return {from, count};
}

std::size_t MessageReader::CopyTo(std::span<std::byte> out) {
  std::size_t copied = 0;
  while (copied < out.size()) {
    const auto run = NextRun(out.size() - copied);
    if (run.empty()) break;
    std::memcpy(out.data() + copied, run.data(), run.size());
    copied += run.size();
  }
  return copied;
}

OutgoingBody::OutgoingBody(FrameKind kind, std::uint16_t code, std::uint64_t request,
                           std::vector<std::span<const std::byte>> pieces,
                           std::shared_ptr<void> owner)
    : kind_(kind),
      code_(code),
      request_(request),
      pieces_(std::move(pieces)),
      owner_(std::move(owner)) {
  for (const auto& piece : pieces_) total_ += piece.size();
}

grpc::ByteBuffer OutgoingBody::NextFrame() {
  DCHECK(!done());
  FrameHeader header;
  header.kind = kind_;
  header.code = code_;
  header.request = request_;
  header.total = total_;
  header.offset = offset_;
  header.payload =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(kMaxPayloadBytes, total_ - offset_));
  // Short runs, the header among them, gather in `small` until a long one comes.
  std::vector<grpc::Slice> slices;
  std::string small(kHeaderBytes, '\0');
  EncodeHeader(header, reinterpret_cast<std::byte*>(small.data()));
  std::size_t left = header.payload;
  while (left > 0) {
    const auto& piece = pieces_[piece_];
    const auto run = piece.subspan(piece_offset_, std::min(left, piece.size() - piece_offset_));
    if (run.size() < kCopyBelowBytes) {
      small.append(reinterpret_cast<const char*>(run.data()), run.size());
    } else {
      if (!small.empty()) slices.emplace_back(small.data(), small.size());
      small.clear();
      slices.push_back(BorrowedSlice(run, owner_));
    }
    left -= run.size();
    piece_offset_ += run.size();
    if (piece_offset_ == piece.size()) {
      ++piece_;
      piece_offset_ = 0;
    }
  }
  if (!small.empty()) slices.emplace_back(small.data(), small.size());
  offset_ += header.payload;
  started_ = true;
  return grpc::ByteBuffer(slices.data(), slices.size());
}

grpc::ByteBuffer OutgoingQueue::Next(bool* ends_body) {
  DCHECK(!bodies_.empty());
  OutgoingBody body = std::move(bodies_.front());
  bodies_.pop_front();
  grpc::ByteBuffer message = body.NextFrame();
  *ends_body = body.done();
  if (!*ends_body) bodies_.push_back(std::move(body));
  return message;
}

OutgoingBody MakeTextBody(FrameKind kind, std::uint16_t code, std::uint64_t request,
                          std::string text) {
  auto owner = std::make_shared<std::string>(std::move(text));
  const auto bytes = std::as_bytes(std::span(owner->data(), owner->size()));
  return OutgoingBody(kind, code, request, {bytes}, std::move(owner));
}

}  // namespace cairn::rpc
