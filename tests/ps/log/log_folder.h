// A folder for a log, records that tell where they come from, and reading a log back.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "common/io/file.h"
#include "common/math/rng.h"
#include "ps/log/push_log.h"

namespace cairn::ps {

using Bytes = std::vector<std::byte>;

// Bytes of a random length below `max_bytes` that only (writer, count) decide. They begin with
// both.
inline Bytes MakePayload(std::uint64_t writer, std::uint64_t count, std::size_t max_bytes) {
  Rng rng(writer, count);
  // Short ones as often as long ones.
  const std::size_t limit = rng.NextBelow(2) == 0 ? max_bytes : max_bytes / 50 + 1;
  Bytes bytes(16 + rng.NextBelow(limit));
  std::memcpy(bytes.data(), &writer, 8);
  std::memcpy(bytes.data() + 8, &count, 8);
  for (std::size_t i = 16; i < bytes.size(); i += 8) {
    const std::uint64_t word = rng.NextU64();
    std::memcpy(bytes.data() + i, &word, std::min<std::size_t>(8, bytes.size() - i));
  }
  return bytes;
}
inline std::pair<std::uint64_t, std::uint64_t> SourceOf(std::span<const std::byte> payload) {
  std::pair<std::uint64_t, std::uint64_t> source;
  std::memcpy(&source.first, payload.data(), 8);
  std::memcpy(&source.second, payload.data() + 8, 8);
  return source;
}

// Appends the payload cut in pieces of random size, some empty.
inline Result<std::uint64_t> AppendInPieces(PushLog& log, const Bytes& payload) {
  Rng rng(payload.size(), 7);
  std::vector<std::span<const std::byte>> parts;
  std::span<const std::byte> rest(payload);
  const std::uint64_t pieces = rng.NextBelow(5);
  for (std::uint64_t i = 0; i < pieces; ++i) {
    const std::size_t size = rng.NextBelow(rest.size() + 1);
    parts.push_back(rest.first(size));
    rest = rest.subspan(size);
  }
  parts.push_back(rest);
  return log.Append(parts);
}

class LogFolder : public testing::Test {
 protected:
  LogFolder() {
    std::string pattern = testing::TempDir() + "cairn_log_XXXXXX";
    root_ = mkdtemp(pattern.data());
    folder_ = root_ + "/log";
  }
  ~LogFolder() override { std::filesystem::remove_all(root_); }

  std::unique_ptr<PushLog> Open(PushLogOptions options) const {
    options.reserve_bytes = 0;
    auto log = PushLog::Open(folder_, options);
    EXPECT_TRUE(log.ok()) << log.status();
    return log.ok() ? std::move(*log) : nullptr;
  }
  // Records from `from` on, which must have ascending LSNs, and the status.
  static std::pair<std::map<std::uint64_t, Bytes>, Status> Read(PushLog& log, std::uint64_t from) {
    std::map<std::uint64_t, Bytes> records;
    std::uint64_t last = 0;
    const Status status =
        log.Replay(from, [&](std::uint64_t lsn, std::span<const std::byte> payload) {
          EXPECT_GT(lsn, last);
          EXPECT_EQ(reinterpret_cast<std::uintptr_t>(payload.data()) % 8, 0u);
          last = lsn;
          records.emplace(lsn, Bytes(payload.begin(), payload.end()));
          return OkStatus();
        });
    return {std::move(records), status};
  }
  static std::map<std::uint64_t, Bytes> ReadAll(PushLog& log, std::uint64_t from = 1) {
    auto [records, status] = Read(log, from);
    EXPECT_EQ(status, OkStatus());
    return records;
  }
  std::vector<std::string> Files() const {
    return ListFolder(folder_, ListMode::kEntries).value_or(std::vector<std::string>());
  }
  std::uint64_t BytesOfFiles() const {
    std::uint64_t bytes = 0;
    for (const std::string& name : Files()) bytes += *FileSize(JoinPath(folder_, name));
    return bytes;
  }

  std::string root_;
  std::string folder_;
};

}  // namespace cairn::ps
