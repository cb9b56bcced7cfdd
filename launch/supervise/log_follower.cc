#include "launch/supervise/log_follower.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <utility>

namespace cairn::launch {
namespace {

constexpr std::size_t kLineBytes = 400;
constexpr std::uint64_t kTailBytes = 256 * 1024;
constexpr std::size_t kPieceBytes = 64 * 1024;

// All bytes of the file from `offset` on.
std::string ReadFrom(const std::string& path, std::uint64_t offset) {
  std::string bytes;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return bytes;
  std::string piece(kPieceBytes, '\0');
  ssize_t got;
  while ((got = pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset + bytes.size()))) >
         0) {
    bytes.append(piece, 0, static_cast<std::size_t>(got));
  }
  close(fd);
  return bytes;
}

// Takes complete lines off the front of `text`.
std::vector<std::string> TakeLines(std::string& text) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(text.substr(begin, end - begin));
  }
  text.erase(0, begin);
  return lines;
}

}  // namespace

LogFollower::LogFollower(std::string path, std::uint64_t offset)
    : path_(std::move(path)), offset_(offset) {}

std::vector<std::string> LogFollower::NewLines() {
  const std::string bytes = ReadFrom(path_, offset_);
  offset_ += bytes.size();
  partial_ += bytes;
  return TakeLines(partial_);
}

std::vector<std::string> LastLines(const std::string& path, std::uint64_t offset,
                                   std::size_t count) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return {};
  const auto size = static_cast<std::uint64_t>(info.st_size);
  const bool cut = size > kTailBytes && size - kTailBytes > offset;
  std::string text = ReadFrom(path, cut ? size - kTailBytes : offset);
  if (!text.empty() && text.back() != '\n') text += '\n';
  std::vector<std::string> lines = TakeLines(text);
  if (cut && lines.size() > 1) lines.erase(lines.begin());  // most likely half a line
  if (lines.size() > count) lines.erase(lines.begin(), lines.end() - static_cast<long>(count));
  for (std::string& line : lines) {
    if (line.size() > kLineBytes) line = line.substr(0, kLineBytes) + " ...";
  }
  return lines;
}

LogLine ClassifyLogLine(std::string_view line) {
  if (line.starts_with("RESULT ")) return LogLine::kResult;
  if (line.empty() || line.starts_with("---- ")) return LogLine::kDetail;
  // glog: "I20260301 09:30:00.123456 4711 file.cc:12] text"; shorter without the year.
  const auto is_digit = [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; };
  const bool is_info = line.size() > 5 && line[0] == 'I' &&
                       std::all_of(line.begin() + 1, line.begin() + 5, is_digit) &&
                       line.find("] ") != std::string_view::npos;
  return is_info ? LogLine::kDetail : LogLine::kProgress;
}

}  // namespace cairn::launch
