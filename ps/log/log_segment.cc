#include "ps/log/log_segment.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

#include <glog/logging.h>

#include "common/io/file.h"

namespace cairn::ps {
namespace {

constexpr char kMagic[8] = {'c', 'a', 'i', 'r', 'n', 'l', 'o', 'g'};
constexpr std::uint32_t kVersion = 1;
constexpr std::string_view kPrefix = "push-";
constexpr std::string_view kSuffix = ".log";
constexpr std::size_t kDigits = 12;
constexpr std::size_t kScanBytes = 1u << 20;

std::uint64_t ChecksumOf(const SegmentHeader& header) {
  return XXH3_64bits(&header, offsetof(SegmentHeader, checksum));
}
std::uint64_t ChecksumOf(const RecordHeader& record, std::uint64_t salt) {
  return XXH3_64bits_withSeed(&record, offsetof(RecordHeader, checksum), salt);
}

}  // namespace

SegmentHeader MakeSegmentHeader(bool synced, std::uint64_t number, std::uint64_t previous_lsn,
                                std::uint64_t first_lsn) {
  SegmentHeader header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.version = kVersion;
  header.flags = synced ? 1 : 0;
  header.number = number;
  header.previous_lsn = previous_lsn;
  header.first_lsn = first_lsn;
  CHECK_EQ(getrandom(&header.salt, sizeof header.salt, 0), ssize_t{sizeof header.salt});
  header.checksum = ChecksumOf(header);
  return header;
}

RecordHeader DescribePayload(ByteParts parts) {
  RecordHeader record{};
  if (parts.size() == 1) {
    record.length = parts[0].size();
    record.payload_checksum = XXH3_64bits(parts[0].data(), parts[0].size());
    return record;
  }
  struct FreeState {
    void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
  };
  const std::unique_ptr<XXH3_state_t, FreeState> state(XXH3_createState());
  XXH3_64bits_reset(state.get());
  for (const auto part : parts) {
    record.length += part.size();
    if (!part.empty()) XXH3_64bits_update(state.get(), part.data(), part.size());
  }
  record.payload_checksum = XXH3_64bits_digest(state.get());
  return record;
}

void SealRecord(const SegmentHeader& segment, std::uint64_t lsn, std::uint64_t durable_lsn,
                RecordHeader* record) {
  record->lsn = lsn;
  record->durable_lsn = durable_lsn;
  record->checksum = ChecksumOf(*record, segment.salt);
}

std::string SegmentFileName(std::uint64_t number) {
  std::string digits = StrCat(number);
  if (digits.size() < kDigits) digits.insert(0, kDigits - digits.size(), '0');
  return StrCat(kPrefix, digits, kSuffix);
}

std::optional<std::uint64_t> SegmentNumber(std::string_view file_name) {
  if (!file_name.starts_with(kPrefix) || !file_name.ends_with(kSuffix)) return std::nullopt;
  std::string_view digits = file_name.substr(kPrefix.size());
  digits.remove_suffix(kSuffix.size());
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), number);
  if (error != std::errc() || end != digits.end() || digits.size() < kDigits) return std::nullopt;
  return number;
}

OwnedFd::~OwnedFd() {
  if (fd_ >= 0) close(fd_);
}

Result<std::unique_ptr<SegmentReader>> SegmentReader::Open(const std::string& path,
                                                           std::uint64_t number) {
  OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return ErrnoStatus("open", path, errno);
  struct stat info;
  if (fstat(fd.get(), &info) != 0) return ErrnoStatus("look at", path, errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size < sizeof(SegmentHeader)) return nullptr;
  std::unique_ptr<SegmentReader> reader(new SegmentReader(path, std::move(fd), size));
  SegmentHeader& header = reader->header_;
  RETURN_IF_ERROR(reader->ReadAt(0, std::as_writable_bytes(std::span(&header, 1))));
  if (header.checksum != ChecksumOf(header) ||
      std::memcmp(header.magic, kMagic, sizeof kMagic) != 0) {
    if (size == sizeof(SegmentHeader)) return nullptr;
    return absl::DataLossError(StrCat("push log ", path, ": damaged header"));
  }
  if (header.version != kVersion) {
    return absl::DataLossError(
        StrCat("push log ", path, ": version ", header.version, ", not ", kVersion));
  }
  if (header.number != number) {
    return absl::DataLossError(
        StrCat("push log ", path, ": this is file number ", header.number, " of its log"));
  }
  reader->next_lsn_ = header.first_lsn;
  return reader;
}

Result<std::optional<LogRecord>> SegmentReader::Next() {
  const std::uint64_t rest = size_ - offset_;
  if (is_torn_ || rest == 0) return std::nullopt;
  if (rest < sizeof(RecordHeader)) {
    is_torn_ = true;
    return std::nullopt;
  }
  RecordHeader record;
  RETURN_IF_ERROR(ReadAt(offset_, std::as_writable_bytes(std::span(&record, 1))));
  if (!IsSealed(record) || record.lsn != next_lsn_) return Bad("damaged record header");
  const std::uint64_t room = rest - sizeof record;
  if (record.length > room || record.length + PaddingOf(record.length) > room) {
    is_torn_ = true;
    return std::nullopt;
  }
  payload_.resize((record.length + 7) / 8);
  const auto payload =
      std::as_writable_bytes(std::span(payload_)).first(static_cast<std::size_t>(record.length));
  RETURN_IF_ERROR(ReadAt(offset_ + sizeof record, payload));
  if (XXH3_64bits(payload.data(), payload.size()) != record.payload_checksum) {
    return Bad("damaged record");
  }
  offset_ += sizeof record + record.length + PaddingOf(record.length);
  ++next_lsn_;
  return LogRecord{record.lsn, payload};
}

Status SegmentReader::ReadAt(std::uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = pread(fd_.get(), out.data(), out.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read", path_, errno);
    if (n == 0) return absl::DataLossError(StrCat("push log ", path_, ": became shorter"));
    out = out.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return OkStatus();
}

bool SegmentReader::IsSealed(const RecordHeader& record) const {
  return record.checksum == ChecksumOf(record, header_.salt);
}

Result<std::optional<LogRecord>> SegmentReader::Bad(std::string_view what) {
  bool is_damage = !header_.synced();
  if (!is_damage) {
    ASSIGN_OR_RETURN(is_damage, WasDurable(next_lsn_));
  }
  if (is_damage) {
    return absl::DataLossError(StrCat("push log ", path_, ": ", what, " ", next_lsn_, " at byte ",
                                      offset_, ", which was acknowledged"));
  }
  is_torn_ = true;
  return std::nullopt;
}

// Whether a record behind `offset_` says so. Records begin at multiples of 8.
Result<bool> SegmentReader::WasDurable(std::uint64_t lsn) const {
  std::vector<std::byte> window;
  for (std::uint64_t from = offset_ + 8; from + sizeof(RecordHeader) <= size_;) {
    window.resize(static_cast<std::size_t>(std::min<std::uint64_t>(kScanBytes, size_ - from)));
    RETURN_IF_ERROR(ReadAt(from, window));
    std::size_t at = 0;
    for (; at + sizeof(RecordHeader) <= window.size(); at += 8) {
      RecordHeader record;
      std::memcpy(&record, window.data() + at, sizeof record);
      if (record.lsn > lsn && record.durable_lsn >= lsn && record.durable_lsn < record.lsn &&
          IsSealed(record)) {
        return true;
      }
    }
    from += at;
  }
  return false;
}

}  // namespace cairn::ps
