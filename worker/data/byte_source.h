// The bytes of one input file, gunzipped on the way if they are gzip. Input files belong to the
// user: every error says what is wrong with which file, and is InvalidArgument (or NotFound), not
// DataLoss.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "common/base/status.h"

namespace cairn::worker {

// A stream of bytes. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads up to `capacity` > 0 bytes; 0 at the end, and again at every later call.
  // InvalidArgument: truncated or corrupt gzip, with the position. Unavailable: the disk failed.
  virtual Result<std::size_t> Read(char* buffer, std::size_t capacity) = 0;
};

// Opens a file. Whether it is gzip is told by its first two bytes; a file whose name ends in ".gz"
// must be. NotFound: no such file. InvalidArgument: a directory, unreadable, or empty (0 bytes).
Result<std::unique_ptr<ByteSource>> OpenByteSource(const std::string& path);

// The checks of OpenByteSource that need no reading: is a readable file with at least one byte.
Status CheckInputFile(const std::string& path);

}  // namespace cairn::worker
