#include "launch/inspect/sha256.h"

#include <openssl/evp.h>

#include <bit>

#include "glog/logging.h"

namespace cairn::launch {

static_assert(std::endian::native == std::endian::little);

void Sha256::Free::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }

// It fails only without memory, or where a policy of the system forbids SHA-256.
Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr);
  CHECK_EQ(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr), 1);
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::Bytes(std::span<const std::byte> bytes) {
  CHECK_EQ(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()), 1);
  return *this;
}

Sha256& Sha256::Bytes(std::string_view bytes) {
  return Bytes(std::as_bytes(std::span(bytes.data(), bytes.size())));
}

Sha256& Sha256::U32(std::uint32_t value) { return Bytes(std::as_bytes(std::span(&value, 1))); }
Sha256& Sha256::U64(std::uint64_t value) { return Bytes(std::as_bytes(std::span(&value, 1))); }

Sha256& Sha256::Text(std::string_view text) {
  return U32(static_cast<std::uint32_t>(text.size())).Bytes(text);
}

std::string Sha256::Finish() {
  std::string digest(32, '\0');
  unsigned int written = 0;
  CHECK_EQ(
      EVP_DigestFinal_ex(context_.get(), reinterpret_cast<unsigned char*>(digest.data()), &written),
      1);
  CHECK_EQ(written, digest.size());
  return digest;
}

std::string HexOf(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

}  // namespace cairn::launch
