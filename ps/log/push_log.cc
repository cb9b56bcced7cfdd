#include "ps/log/push_log.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <deque>
#include <utility>
#include <vector>

#include <glog/logging.h>

#include "common/base/mutex.h"
#include "common/io/file.h"
#include "ps/log/log_segment.h"
#include "ps/store/free_space.h"

namespace cairn::ps {
namespace {

constexpr std::uint64_t kSpaceCheckBytes = 4u << 20;

Status WriteError(std::string_view verb, std::string_view path, int error_number) {
  const Status status = ErrnoStatus(verb, path, error_number);
  const bool is_full = error_number == ENOSPC || error_number == EDQUOT;
  return is_full ? absl::ResourceExhaustedError(status.message())
                 : absl::UnavailableError(status.message());
}

// Writes all of `parts` at `offset`; 0 or an error number. `parts` is used up.
int WriteParts(int fd, std::uint64_t offset, std::vector<iovec> parts) {
  for (std::size_t at = 0; at < parts.size();) {
    const auto count = std::min<std::size_t>(parts.size() - at, IOV_MAX);
    const ssize_t n =
        pwritev(fd, parts.data() + at, static_cast<int>(count), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    offset += static_cast<std::uint64_t>(n);
    auto written = static_cast<std::size_t>(n);
    while (at < parts.size() && written >= parts[at].iov_len) written -= parts[at++].iov_len;
    if (written > 0) {
      parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + written;
      parts[at].iov_len -= written;
    }
  }
  return 0;
}

// 0 or an error number.
int SyncData(int fd) {
  while (fdatasync(fd) != 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

iovec ToIovec(const void* data, std::size_t size) { return {const_cast<void*>(data), size}; }

// A file of the log. Only the newest one is open for writing.
struct Segment {
  SegmentHeader header{};
  std::string path;
  std::uint64_t bytes = 0;
};

class FilePushLog final : public PushLog {
 public:
  FilePushLog(std::string folder, const PushLogOptions& options)
      : folder_(std::move(folder)), options_(options) {}

  Status Recover() EXCLUDES(mu_);

  Result<std::uint64_t> Append(ByteParts parts) override EXCLUDES(mu_);
  Status Commit(std::uint64_t lsn) override EXCLUDES(mu_);
  Status Replay(std::uint64_t from,
                const std::function<Status(std::uint64_t, std::span<const std::byte>)>& visit)
      override EXCLUDES(drop_mu_, mu_);
  Status DropThrough(std::uint64_t lsn) override EXCLUDES(drop_mu_, mu_);
  Status AdvanceTo(std::uint64_t next_lsn) override EXCLUDES(mu_);

  std::uint64_t first_lsn() const override EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    for (const Segment& segment : segments_) {
      if (segment.bytes > sizeof(SegmentHeader)) return segment.header.first_lsn;
    }
    return next_lsn_;
  }
  std::uint64_t last_lsn() const override EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    return next_lsn_ - 1;
  }
  std::uint64_t Bytes() const override EXCLUDES(mu_) {
    const MutexLock lock(mu_);
    std::uint64_t bytes = 0;
    for (const Segment& segment : segments_) bytes += segment.bytes;
    return bytes;
  }

 private:
  Result<std::vector<std::uint64_t>> ListNumbers() const;
  Status OpenNewest() REQUIRES(mu_);
  // keeps_reserve: refuses where the disk has less; not for what makes room.
  Status BeginSegment(std::uint64_t first_lsn, bool keeps_reserve = true) REQUIRES(mu_);
  Status EndSegment() REQUIRES(mu_);
  Status WriteRecord(const RecordHeader& record, ByteParts parts) REQUIRES(mu_);
  Status ReserveSpace(std::uint64_t bytes) REQUIRES(mu_);
  Status SyncNewest() REQUIRES(mu_);
  std::uint64_t durable_lsn() const REQUIRES(mu_) {
    return options_.sync ? synced_lsn_ : next_lsn_ - 1;
  }

  const std::string folder_;
  const PushLogOptions options_;

  Mutex drop_mu_;  // taken before mu_; held while files are removed, oldest first
  mutable Mutex mu_;
  CondVar sync_done_;
  std::deque<Segment> segments_ GUARDED_BY(mu_);  // oldest first; never empty once recovered
  OwnedFd newest_ GUARDED_BY(mu_);                // of segments_.back()
  std::uint64_t next_lsn_ GUARDED_BY(mu_) = 1;
  std::uint64_t synced_lsn_ GUARDED_BY(mu_) = 0;  // with sync: on the disk through this one
  bool is_syncing_ GUARDED_BY(mu_) = false;       // a thread syncs newest_ without holding mu_
  std::uint64_t free_bytes_ GUARDED_BY(mu_) = 0;  // may be appended before the disk is asked again
  Status broken_ GUARDED_BY(mu_);                 // not OK: nothing can be appended any more
};

Result<std::vector<std::uint64_t>> FilePushLog::ListNumbers() const {
  ASSIGN_OR_RETURN(const auto names, ListFolder(folder_, ListMode::kEntries));
  std::vector<std::uint64_t> numbers;
  for (const std::string& name : names) {
    if (const auto number = SegmentNumber(name)) numbers.push_back(*number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Status FilePushLog::Recover() {
  ASSIGN_OR_RETURN(std::vector<std::uint64_t> numbers, ListNumbers());
  const MutexLock lock(mu_);
  for (const std::uint64_t number : numbers) {
    Segment segment{.path = JoinPath(folder_, SegmentFileName(number))};
    ASSIGN_OR_RETURN(const auto reader, SegmentReader::Open(segment.path, number));
    if (reader == nullptr) {
      if (number != numbers.back()) {
        return absl::DataLossError(StrCat("push log ", segment.path, ": no header"));
      }
      RETURN_IF_ERROR(RemoveTree(segment.path));  // was being made; nothing was written to it
      break;
    }
    segment.header = reader->header();
    if (!segments_.empty() && number != segments_.back().header.number + 1) {
      return absl::DataLossError(StrCat("push log ", folder_, ": no file ",
                                        SegmentFileName(segments_.back().header.number + 1)));
    }
    ASSIGN_OR_RETURN(segment.bytes, FileSize(segment.path));
    // What is replayed from now on counts as acknowledged.
    if (options_.sync && !segment.header.synced()) RETURN_IF_ERROR(SyncFile(segment.path));
    segments_.push_back(std::move(segment));
  }
  if (segments_.empty()) return BeginSegment(1);
  RETURN_IF_ERROR(OpenNewest());
  // Records are written as the header of their file says.
  if (segments_.back().header.synced() != options_.sync) return BeginSegment(next_lsn_);
  return OkStatus();
}

// Reads the newest file through, cuts off what is torn and opens it for appending.
Status FilePushLog::OpenNewest() {
  Segment& newest = segments_.back();
  ASSIGN_OR_RETURN(const auto reader, SegmentReader::Open(newest.path, newest.header.number));
  if (reader == nullptr) return absl::DataLossError(StrCat("push log ", newest.path, ": changed"));
  for (;;) {
    ASSIGN_OR_RETURN(const auto record, reader->Next());
    if (!record.has_value()) break;
  }
  next_lsn_ = reader->next_lsn();
  newest_ = OwnedFd(open(newest.path.c_str(), O_WRONLY | O_CLOEXEC));
  if (newest_.get() < 0) return WriteError("open", newest.path, errno);
  if (reader->is_torn()) {
    LOG(WARNING) << "push log " << newest.path << ": cut off " << newest.bytes - reader->end()
                 << " bytes of an unfinished record";
    if (ftruncate(newest_.get(), static_cast<off_t>(reader->end())) != 0) {
      return WriteError("shorten", newest.path, errno);
    }
    newest.bytes = reader->end();
  }
  return options_.sync ? SyncNewest() : OkStatus();
}

Status FilePushLog::BeginSegment(std::uint64_t first_lsn, bool keeps_reserve) {
  const std::uint64_t number = segments_.empty() ? 1 : segments_.back().header.number + 1;
  Segment segment{.header = MakeSegmentHeader(options_.sync, number,
                                              segments_.empty() ? 0 : next_lsn_ - 1, first_lsn),
                  .path = JoinPath(folder_, SegmentFileName(number)),
                  .bytes = sizeof(SegmentHeader)};
  if (keeps_reserve) RETURN_IF_ERROR(ReserveSpace(segment.bytes));
  OwnedFd fd(open(segment.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) return WriteError("create", segment.path, errno);
  int error = WriteParts(fd.get(), 0, {ToIovec(&segment.header, sizeof segment.header)});
  if (error == 0 && options_.sync) error = SyncData(fd.get());
  Status status = error == 0 ? OkStatus() : WriteError("write", segment.path, error);
  if (status.ok() && options_.sync) status = SyncFolder(folder_);
  if (!status.ok()) {
    unlink(segment.path.c_str());
    return status;
  }
  segments_.push_back(std::move(segment));
  newest_ = std::move(fd);
  next_lsn_ = first_lsn;
  if (options_.sync) synced_lsn_ = first_lsn - 1;
  return OkStatus();
}

// Makes the newest file ready to be followed by another one.
Status FilePushLog::EndSegment() {
  if (!options_.sync) return OkStatus();
  sync_done_.Wait(mu_, [this]() NO_THREAD_SAFETY_ANALYSIS { return !is_syncing_; });
  RETURN_IF_ERROR(broken_);
  return synced_lsn_ + 1 < next_lsn_ ? SyncNewest() : OkStatus();
}

Status FilePushLog::SyncNewest() {
  if (const int error = SyncData(newest_.get()); error != 0) {
    broken_ = WriteError("sync", segments_.back().path, error);
    return broken_;
  }
  synced_lsn_ = next_lsn_ - 1;
  return OkStatus();
}

Status FilePushLog::ReserveSpace(std::uint64_t bytes) {
  if (free_bytes_ < bytes) {
    free_bytes_ = 0;
    const std::uint64_t wanted = std::max(bytes, kSpaceCheckBytes);
    RETURN_IF_ERROR(CheckFreeSpace(folder_, wanted, options_.reserve_bytes));
    free_bytes_ = wanted;
  }
  free_bytes_ -= bytes;
  return OkStatus();
}

Result<std::uint64_t> FilePushLog::Append(ByteParts parts) {
  RecordHeader record = DescribePayload(parts);
  const MutexLock lock(mu_);
  RETURN_IF_ERROR(broken_);
  const Segment& newest = segments_.back();
  if (newest.bytes >= options_.segment_bytes && next_lsn_ > newest.header.first_lsn) {
    RETURN_IF_ERROR(EndSegment());
    // While EndSegment waited, another thread may have begun the next file.
    if (segments_.back().bytes >= options_.segment_bytes) RETURN_IF_ERROR(BeginSegment(next_lsn_));
  }
  SealRecord(segments_.back().header, next_lsn_, durable_lsn(), &record);
  RETURN_IF_ERROR(WriteRecord(record, parts));
  return next_lsn_++;
}

Status FilePushLog::WriteRecord(const RecordHeader& record, ByteParts parts) {
  static constexpr char kZeros[8] = {};
  Segment& newest = segments_.back();
  const std::uint64_t padding = PaddingOf(record.length);
  const std::uint64_t bytes = sizeof record + record.length + padding;
  RETURN_IF_ERROR(ReserveSpace(bytes));
  std::vector<iovec> pieces;
  pieces.reserve(parts.size() + 2);
  pieces.push_back(ToIovec(&record, sizeof record));
  for (const auto part : parts) pieces.push_back(ToIovec(part.data(), part.size()));
  pieces.push_back(ToIovec(kZeros, padding));
  if (const int error = WriteParts(newest_.get(), newest.bytes, std::move(pieces)); error != 0) {
    const Status status = WriteError("write", newest.path, error);
    free_bytes_ = 0;
    if (ftruncate(newest_.get(), static_cast<off_t>(newest.bytes)) != 0) {
      broken_ = WriteError("shorten", newest.path, errno);
    }
    return status;
  }
  newest.bytes += bytes;
  return OkStatus();
}

Status FilePushLog::Commit(std::uint64_t lsn) {
  if (!options_.sync) return OkStatus();
  const MutexLock lock(mu_);
  CHECK_LT(lsn, next_lsn_) << "commit of a record that was not appended";
  while (synced_lsn_ < lsn) {
    RETURN_IF_ERROR(broken_);
    if (is_syncing_) {
      sync_done_.Wait(mu_, [this]() NO_THREAD_SAFETY_ANALYSIS { return !is_syncing_; });
      continue;
    }
    // All records that are not synced lie in the newest file, which stays while is_syncing_.
    is_syncing_ = true;
    const std::uint64_t through = next_lsn_ - 1;
    const int fd = newest_.get();
    mu_.Unlock();
    const int error = SyncData(fd);
    mu_.Lock();
    is_syncing_ = false;
    if (error == 0) {
      synced_lsn_ = through;
    } else {
      broken_ = WriteError("sync", segments_.back().path, error);
    }
    sync_done_.NotifyAll();
  }
  return OkStatus();
}

Status FilePushLog::Replay(
    std::uint64_t from,
    const std::function<Status(std::uint64_t, std::span<const std::byte>)>& visit) {
  const MutexLock drop_lock(drop_mu_);
  const MutexLock lock(mu_);
  from = std::max<std::uint64_t>(from, 1);
  if (const SegmentHeader& first = segments_.front().header; first.previous_lsn >= from) {
    return absl::DataLossError(StrCat("push log ", folder_, ": records ", from, " to ",
                                      first.previous_lsn, " are not there any more"));
  }
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    const Segment* after = i + 1 < segments_.size() ? &segments_[i + 1] : nullptr;
    if (after != nullptr && after->header.previous_lsn < from) continue;
    ASSIGN_OR_RETURN(const auto reader, SegmentReader::Open(segment.path, segment.header.number));
    if (reader == nullptr) {
      return absl::DataLossError(StrCat("push log ", segment.path, ": no header"));
    }
    for (;;) {
      ASSIGN_OR_RETURN(const auto record, reader->Next());
      if (!record.has_value()) break;
      if (record->lsn >= from) RETURN_IF_ERROR(visit(record->lsn, record->payload));
    }
    const std::uint64_t next_lsn = after != nullptr ? after->header.previous_lsn + 1 : next_lsn_;
    if (reader->is_torn() || reader->next_lsn() != next_lsn) {
      return absl::DataLossError(StrCat("push log ", segment.path, ": ends before record ",
                                        reader->next_lsn(), ", of ", next_lsn - 1));
    }
  }
  return OkStatus();
}

Status FilePushLog::DropThrough(std::uint64_t lsn) {
  const MutexLock drop_lock(drop_mu_);
  {
    const MutexLock lock(mu_);
    if (lsn + 1 >= next_lsn_ && next_lsn_ > segments_.back().header.first_lsn) {
      RETURN_IF_ERROR(broken_);
      RETURN_IF_ERROR(EndSegment());
      // Appends may have come while EndSegment waited; a file is then ended early, no more.
      RETURN_IF_ERROR(BeginSegment(next_lsn_, /*keeps_reserve=*/false));
    }
  }
  for (;;) {
    std::string path;
    {
      const MutexLock lock(mu_);
      if (segments_.size() < 2 || segments_[1].header.previous_lsn > lsn) return OkStatus();
      path = segments_.front().path;
    }
    if (unlink(path.c_str()) != 0) return WriteError("remove", path, errno);
    const MutexLock lock(mu_);
    segments_.pop_front();
  }
}

Status FilePushLog::AdvanceTo(std::uint64_t next_lsn) {
  const MutexLock lock(mu_);
  if (next_lsn <= next_lsn_) return OkStatus();
  RETURN_IF_ERROR(broken_);
  RETURN_IF_ERROR(EndSegment());
  return next_lsn > next_lsn_ ? BeginSegment(next_lsn) : OkStatus();
}

}  // namespace

Result<std::unique_ptr<PushLog>> PushLog::Open(const std::string& folder,
                                               const PushLogOptions& options) {
  RETURN_IF_ERROR(MakeFolders(folder));
  auto log = std::make_unique<FilePushLog>(folder, options);
  RETURN_IF_ERROR(log->Recover(), "opening the push log");
  return log;
}

}  // namespace cairn::ps
