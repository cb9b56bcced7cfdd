// Checksums of files, and small text files that carry their own ("sealed text").
//
// Sealed text = body, then one last line with the checksum of every byte before that line:
//
//   name: "job"
//   step: 42
//   # xxh3-128 <32 lower-case hexadecimal digits>
//
// The seal is a comment for a textproto parser. Any change, truncation or appended byte breaks it.
// A checksum is XXH3-128 (seed 0) in the canonical big-endian form, which `xxhsum -H2` prints too.
// It detects accidents, not forgery.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace cairn {

// Checksum of bytes that arrive in pieces. Not thread-safe.
class Checksummer {
 public:
  Checksummer();
  ~Checksummer();
  Checksummer(const Checksummer&) = delete;
  Checksummer& operator=(const Checksummer&) = delete;

  void Add(std::string_view bytes);
  // 32 hexadecimal digits for all bytes so far; more may be added afterwards.
  std::string Hex() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string ChecksumOfBytes(std::string_view bytes);

// Of a whole file, read in pieces of 1 MiB. Errors as ReadFile in file.h.
Result<std::string> ChecksumOfFile(const std::string& path);

// `body` with its seal. A body that does not end in a line feed is given one.
std::string SealText(std::string_view body);

// The body of sealed text. DataLoss, naming `source`, when the seal is missing or wrong.
Result<std::string> UnsealText(std::string_view text, std::string_view source);

// The body of a sealed file. NotFound when there is no file, DataLoss naming it when it is damaged.
Result<std::string> OpenSealedText(const std::string& path);

}  // namespace cairn
