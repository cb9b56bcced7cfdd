// One file of a push log: how it looks, and reading it back.
//
//   file    = header  record*                                     (little-endian)
//   header  = magic:8 "cairnlog"  version:u32 = 1  flags:u32  number:u64  previous_lsn:u64
//             first_lsn:u64  salt:u64  checksum:u64                       (56 bytes)
//   record  = lsn:u64  length:u64  durable_lsn:u64  payload_checksum:u64  checksum:u64  (40 bytes)
//             payload:length  zeros up to a multiple of 8
//
//   flags         bit 0: synced, records are acknowledged only after a sync
//   number        that of the file's name, push-<12 digits>.log; the files of a log are numbered
//                 without gaps
//   previous_lsn  LSN that was reached before this file, 0 in the first one
//   first_lsn     LSN that the file's first record has or will have: previous_lsn + 1, or more
//                 after PushLog::AdvanceTo; then one more with each record
//   salt          random; so that nothing outside this file is taken for a record of it
//   durable_lsn   highest LSN that was durable, in the sense of the flags, when this was written
//   checksum      XXH3-64 of the fields before it; of a record with the salt as seed
//   payload_checksum  XXH3-64 of the payload
//
// What a bad record means. Records are written one after the other, so a process that dies leaves
// at most one that runs past the end of the file: torn, never acknowledged, the end of the log. A
// bad record that lies wholly within the file was damaged after it was written: DataLoss. In a
// synced file a power cut may have kept any part of the records behind the last sync; there a bad
// record is torn as well, unless a later record says that it had been durable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace cairn::ps {

struct SegmentHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t flags;
  std::uint64_t number;
  std::uint64_t previous_lsn;
  std::uint64_t first_lsn;
  std::uint64_t salt;
  std::uint64_t checksum;

  bool synced() const { return (flags & 1) != 0; }
};
static_assert(sizeof(SegmentHeader) == 56);

struct RecordHeader {
  std::uint64_t lsn;
  std::uint64_t length;
  std::uint64_t durable_lsn;
  std::uint64_t payload_checksum;
  std::uint64_t checksum;
};
static_assert(sizeof(RecordHeader) == 40);

using ByteParts = std::span<const std::span<const std::byte>>;

// With a salt drawn at random and the checksum.
SegmentHeader MakeSegmentHeader(bool synced, std::uint64_t number, std::uint64_t previous_lsn,
                                std::uint64_t first_lsn);
// Length and checksum of a payload in pieces; lsn, durable_lsn and checksum are left 0.
RecordHeader DescribePayload(ByteParts parts);
// Fills in the rest.
void SealRecord(const SegmentHeader& segment, std::uint64_t lsn, std::uint64_t durable_lsn,
                RecordHeader* record);
// Zeros behind a payload.
inline std::uint64_t PaddingOf(std::uint64_t length) { return -length % 8; }

std::string SegmentFileName(std::uint64_t number);
// Nothing for a name of another form.
std::optional<std::uint64_t> SegmentNumber(std::string_view file_name);

// A file descriptor that is closed with its owner.
class OwnedFd {
 public:
  explicit OwnedFd(int fd = -1) : fd_(fd) {}
  OwnedFd(OwnedFd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  OwnedFd& operator=(OwnedFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~OwnedFd();
  int get() const { return fd_; }

 private:
  int fd_;
};

struct LogRecord {
  std::uint64_t lsn = 0;
  std::span<const std::byte> payload;  // at a multiple of 8 in memory
};

// Reads one file from its start. Errors: DataLoss, naming file and offset, for damage; Unavailable
// when it cannot be read. Not thread-safe.
class SegmentReader {
 public:
  // Null for a file that was being made when the process or the machine died: without a whole
  // header, or with nothing but a bad one.
  static Result<std::unique_ptr<SegmentReader>> Open(const std::string& path, std::uint64_t number);

  const SegmentHeader& header() const { return header_; }
  // The next whole record, or nothing at the end. The payload lives until the next call.
  Result<std::optional<LogRecord>> Next();
  // LSN that the next record must have.
  std::uint64_t next_lsn() const { return next_lsn_; }
  // Where the records that were read end, and whether something torn follows.
  std::uint64_t end() const { return offset_; }
  bool is_torn() const { return is_torn_; }

 private:
  SegmentReader(std::string path, OwnedFd fd, std::uint64_t size)
      : path_(std::move(path)), fd_(std::move(fd)), size_(size) {}
  Status ReadAt(std::uint64_t offset, std::span<std::byte> out) const;
  bool IsSealed(const RecordHeader& record) const;
  Result<std::optional<LogRecord>> Bad(std::string_view what);
  Result<bool> WasDurable(std::uint64_t lsn) const;

  const std::string path_;
  const OwnedFd fd_;
  const std::uint64_t size_;
  SegmentHeader header_{};
  std::uint64_t next_lsn_ = 0;
  std::uint64_t offset_ = sizeof(SegmentHeader);
  bool is_torn_ = false;
  std::vector<std::uint64_t> payload_;  // words, for alignment
};

}  // namespace cairn::ps
