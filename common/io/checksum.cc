#include "common/io/checksum.h"

#include <xxhash.h>

#include "common/io/file.h"

namespace cairn {
namespace {

constexpr std::string_view kSealStart = "# xxh3-128 ";
constexpr std::size_t kHexDigits = 32;
constexpr std::size_t kSealBytes = kSealStart.size() + kHexDigits + 1;

std::string HexOf(XXH128_hash_t hash) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string hex;
  hex.reserve(kHexDigits);
  for (const unsigned char byte : canonical.digest) {
    hex.push_back(kDigits[byte >> 4]);
    hex.push_back(kDigits[byte & 15]);
  }
  return hex;
}

std::string SealOf(std::string_view body) {
  return StrCat(kSealStart, ChecksumOfBytes(body), "\n");
}

}  // namespace

struct Checksummer::State {
  XXH3_state_t* xxh = XXH3_createState();  // wants 64-byte alignment, which it sees to itself
  ~State() { XXH3_freeState(xxh); }
};

Checksummer::Checksummer() : state_(std::make_unique<State>()) { XXH3_128bits_reset(state_->xxh); }
Checksummer::~Checksummer() = default;

void Checksummer::Add(std::string_view bytes) {
  XXH3_128bits_update(state_->xxh, bytes.data(), bytes.size());
}

std::string Checksummer::Hex() const { return HexOf(XXH3_128bits_digest(state_->xxh)); }

std::string ChecksumOfBytes(std::string_view bytes) {
  return HexOf(XXH3_128bits(bytes.data(), bytes.size()));
}

Result<std::string> ChecksumOfFile(const std::string& path) {
  Checksummer checksum;
  RETURN_IF_ERROR(ReadFileInPieces(path, [&checksum](std::string_view piece) {
    checksum.Add(piece);
    return OkStatus();
  }));
  return checksum.Hex();
}

std::string SealText(std::string_view body) {
  std::string text(body);
  if (!text.empty() && text.back() != '\n') text.push_back('\n');
  return text + SealOf(text);
}

Result<std::string> UnsealText(std::string_view text, std::string_view source) {
  const auto damaged = [source](std::string_view reason) {
    return absl::DataLossError(StrCat(source, " is damaged: ", reason));
  };
  if (text.empty()) return damaged("it is empty");
  if (text.size() < kSealBytes) return damaged("it is too short to carry its checksum");
  const std::string_view body = text.substr(0, text.size() - kSealBytes);
  const std::string_view seal = text.substr(body.size());
  if (!seal.starts_with(kSealStart) || (!body.empty() && body.back() != '\n')) {
    return damaged("its last line is not a checksum (cut short?)");
  }
  // Compared as text, so that a change of the seal's own bytes shows as well.
  if (seal != SealOf(body)) return damaged("its checksum does not match its content");
  return std::string(body);
}

Result<std::string> OpenSealedText(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return UnsealText(text, path);
}

}  // namespace cairn
