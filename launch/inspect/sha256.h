// SHA-256 (FIPS 180-4) of bytes that come in pieces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

struct evp_md_ctx_st;  // OpenSSL's

namespace cairn::launch {

// Numbers are added as their little-endian bytes, text behind its length. Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  Sha256& Bytes(std::span<const std::byte> bytes);
  Sha256& Bytes(std::string_view bytes);
  Sha256& U32(std::uint32_t value);
  Sha256& U64(std::uint64_t value);
  Sha256& Text(std::string_view text);  // u32 length, then the bytes

  // The 32 bytes. Call once, last.
  std::string Finish();

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

// Two lower-case digits for each byte.
std::string HexOf(std::string_view bytes);

}  // namespace cairn::launch
