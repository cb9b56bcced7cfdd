#include "ps/table/counting_filter.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

#include <glog/logging.h>

#include "common/math/hash.h"

namespace cairn::ps {
namespace {

static_assert(std::endian::native == std::endian::little);  // headers are copied as they are

__extension__ using Wide = unsigned __int128;

constexpr int kPlaceBits = 58;
constexpr std::uint32_t kCountersOfKey = 3;
constexpr std::size_t kCounterBits = 63 * 8;
constexpr std::string_view kMagic = "CAIRNCF";
constexpr char kVersion = '1';

struct PieceHeader {
  char magic[7];
  char version;
  std::uint32_t width;
  std::uint32_t stripe;
  std::uint64_t salt;
  std::uint64_t places_begin;
  std::uint64_t places;
  std::uint64_t lines;
};
static_assert(sizeof(PieceHeader) == 48);

std::uint32_t WidthFor(std::uint32_t threshold) {
  CHECK(threshold >= 2 && threshold <= 16) << threshold;
  return threshold <= 2 ? 1 : threshold <= 4 ? 2 : 4;
}

std::uint64_t PlaceOf(std::uint64_t mixed) {
  return (mixed >> 38) << 32 | static_cast<std::uint32_t>(mixed);
}

// A byte's fields of `width` bits that keep their high bits after a shift right by `shift`.
std::uint8_t FieldMask(std::uint32_t width, std::uint32_t shift) {
  const std::uint32_t ones = 0xffu / ((1u << width) - 1);  // 1 in each field
  return static_cast<std::uint8_t>(ones * ((1u << (width - shift)) - 1));
}

// The larger of the two, counter by counter. A saved line's epoch byte is 0 and changes nothing.
template <std::uint32_t width>
void MergeLine(const std::byte* from, std::uint8_t* to) {
  constexpr std::size_t kLineBytes = 64;
  std::uint8_t saved[kLineBytes];
  std::memcpy(saved, from, kLineBytes);
  std::uint8_t larger[kLineBytes] = {};
  for (std::uint32_t shift = 0; shift < 8; shift += width) {
    const auto mask = static_cast<std::uint8_t>(((1u << width) - 1) << shift);
    for (std::size_t i = 0; i < kLineBytes; ++i) {
      const auto a = static_cast<std::uint8_t>(saved[i] & mask);
      const auto b = static_cast<std::uint8_t>(to[i] & mask);
      larger[i] = static_cast<std::uint8_t>(larger[i] | (a > b ? a : b));
    }
  }
  std::memcpy(to, larger, kLineBytes);
}

}  // namespace

CountingFilter::Layout CountingFilter::Layout::Of(std::uint64_t begin, std::uint64_t size,
                                                  std::uint64_t lines) {
  return {begin, size, lines, static_cast<std::uint64_t>((static_cast<Wide>(lines) << 64) / size)};
}

std::uint64_t CountingFilter::Layout::LineOf(std::uint64_t place) const {
  return static_cast<std::uint64_t>(static_cast<Wide>(place - begin) * scale >> 64);
}

std::uint64_t CountingFilter::Layout::FirstPlaceOf(std::uint64_t line) const {
  if (line == lines) return begin + size;
  return begin + static_cast<std::uint64_t>(((static_cast<Wide>(line) << 64) + scale - 1) / scale);
}

CountingFilter::CountingFilter(const Options& options)
    : width_(WidthFor(options.threshold)),
      halve_after_(options.halve_after),
      table_salt_(options.table_salt) {
  const std::uint64_t lines = options.bytes / (kStripes * sizeof(Line));
  CHECK(lines > 0 && lines < 1ull << 32) << options.bytes;
  CHECK(options.slots.bits <= kMaxSlotBits && options.slots.count > 0);
  const int slot_shift = kPlaceBits - options.slots.bits;
  layout_ = Layout::Of(static_cast<std::uint64_t>(options.slots.first) << slot_shift,
                       static_cast<std::uint64_t>(options.slots.count) << slot_shift, lines);
  memory_ = Pages(lines * kStripes * sizeof(Line), Pages::Huge::kAdvise);
}

void CountingFilter::Age(Line& line, std::uint8_t epoch) const {
  const auto missed = static_cast<std::uint8_t>(epoch - line.epoch);
  if (missed >= width_) {
    std::memset(line.counters, 0, sizeof(line.counters));
  } else {
    const std::uint8_t mask = FieldMask(width_, missed);
    for (std::uint8_t& byte : line.counters)
      byte = static_cast<std::uint8_t>(byte >> missed) & mask;
  }
  line.epoch = epoch;
}

std::uint8_t CountingFilter::CountInLine(Line& line, std::uint64_t mixed) const {
  const std::uint32_t counters = static_cast<std::uint32_t>(kCounterBits) / kCountersOfKey / width_;
  const std::uint64_t hash = Mix64(mixed);  // the bits of `mixed` chose the line
  const std::uint32_t mask = max_count();
  std::array<std::uint8_t*, kCountersOfKey> bytes;
  std::array<std::uint32_t, kCountersOfKey> shifts, values;
  for (std::uint32_t i = 0; i < kCountersOfKey; ++i) {
    const auto chunk = static_cast<std::uint32_t>(hash >> (20 * i)) & 0xfffffu;
    const std::uint32_t bit = (i * counters + (chunk * counters >> 20)) * width_;
    bytes[i] = line.counters + bit / 8;
    shifts[i] = bit % 8;
    values[i] = static_cast<std::uint32_t>(*bytes[i] >> shifts[i]) & mask;
  }
  const std::uint32_t least = std::min({values[0], values[1], values[2]});
  if (least < mask) {
    for (std::uint32_t i = 0; i < kCountersOfKey; ++i) {
      const std::uint32_t add = values[i] == least ? 1 : 0;
      *bytes[i] = static_cast<std::uint8_t>(*bytes[i] + (add << shifts[i]));
    }
  }
  return static_cast<std::uint8_t>(least + 1);
}

void CountingFilter::Count(std::uint32_t stripe, std::span<const std::uint64_t> keys,
                           std::uint64_t push, std::uint8_t* counts) {
  constexpr std::size_t kAhead = 64;
  std::array<std::uint64_t, kAhead> mixed;
  std::array<Line*, kAhead> lines;
  if (EpochOf(push) > epochs_[stripe]) epochs_[stripe] = EpochOf(push);
  const auto epoch = static_cast<std::uint8_t>(epochs_[stripe]);
  Line* const part = Part(stripe);
  for (std::size_t begin = 0; begin < keys.size(); begin += kAhead) {
    const std::size_t n = std::min(kAhead, keys.size() - begin);
    for (std::size_t i = 0; i < n; ++i) {
      mixed[i] = MixedKey(keys[begin + i]);
      DCHECK_EQ(StripeOf(mixed[i]), stripe);
      const std::uint64_t place = PlaceOf(mixed[i]);
      DCHECK_LT(place - layout_.begin, layout_.size);
      lines[i] = part + layout_.LineOf(place);
      __builtin_prefetch(lines[i], 1);
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (lines[i]->epoch != epoch) Age(*lines[i], epoch);
      counts[begin + i] = CountInLine(*lines[i], mixed[i]);
    }
  }
}

void CountingFilter::SaveStripe(std::uint32_t stripe, std::uint64_t push, std::string* out) const {
  const std::size_t start = out->size();
  PieceHeader header{{},          kVersion,      width_,       stripe,
                     table_salt_, layout_.begin, layout_.size, layout_.lines};
  kMagic.copy(header.magic, kMagic.size());
  out->reserve(start + sizeof(header) + layout_.lines * sizeof(Line) + sizeof(std::uint64_t));
  out->append(reinterpret_cast<const char*>(&header), sizeof(header));
  const auto epoch = static_cast<std::uint8_t>(std::max(epochs_[stripe], EpochOf(push)));
  for (std::uint64_t i = 0; i < layout_.lines; ++i) {
    Line line = Part(stripe)[i];
    if (line.epoch != epoch) Age(line, epoch);
    line.epoch = 0;
    out->append(reinterpret_cast<const char*>(&line), sizeof(line));
  }
  const std::uint64_t checksum = HashBytes(std::string_view(*out).substr(start), 0);
  out->append(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
}

Result<CountingFilter::Piece> CountingFilter::TakePiece(std::string_view* bytes,
                                                        std::string_view source) const {
  const auto damaged = [source] {
    return absl::DataLossError(StrCat(source, ": a counting filter's piece is damaged"));
  };
  PieceHeader header;
  if (bytes->size() < sizeof(header)) return damaged();
  std::memcpy(&header, bytes->data(), sizeof(header));
  if (std::string_view(header.magic, kMagic.size()) != kMagic) return damaged();
  if (header.version != kVersion) {
    return absl::FailedPreconditionError(
        StrCat(source, ": a counting filter of format version ", std::string(1, header.version),
               "; this program reads version ", std::string(1, kVersion)));
  }
  constexpr std::size_t kAround = sizeof(header) + sizeof(std::uint64_t);
  if (bytes->size() < kAround || header.lines > (bytes->size() - kAround) / sizeof(Line)) {
    return damaged();
  }
  const std::size_t body = sizeof(header) + header.lines * sizeof(Line);
  std::uint64_t checksum;
  std::memcpy(&checksum, bytes->data() + body, sizeof(checksum));
  if (HashBytes(bytes->substr(0, body), 0) != checksum) return damaged();
  constexpr std::uint64_t kPlaces = 1ull << kPlaceBits;
  if (header.stripe >= kStripes || header.lines == 0 || header.places < header.lines << 6 ||
      header.places > kPlaces || header.places_begin > kPlaces - header.places) {
    return damaged();
  }
  if (header.salt != table_salt_) {
    return absl::FailedPreconditionError(StrCat(source, ": a counting filter of another table"));
  }
  if (header.width != width_) {
    return absl::FailedPreconditionError(StrCat(source, ": a counting filter with counters of ",
                                                header.width, " bits, not ", width_,
                                                ": min_pushes was changed"));
  }
  Piece piece{header.stripe, Layout::Of(header.places_begin, header.places, header.lines),
              reinterpret_cast<const std::byte*>(bytes->data()) + sizeof(header)};
  bytes->remove_prefix(body + sizeof(checksum));
  return piece;
}

void CountingFilter::Merge(const Piece& piece) {
  const std::uint64_t begin = std::max(piece.layout.begin, layout_.begin);
  const std::uint64_t end =
      std::min(piece.layout.begin + piece.layout.size, layout_.begin + layout_.size);
  if (begin >= end) return;
  const auto merge = width_ == 1 ? &MergeLine<1> : width_ == 2 ? &MergeLine<2> : &MergeLine<4>;
  const std::uint64_t last_line = layout_.LineOf(end - 1);
  for (std::uint64_t i = layout_.LineOf(begin); i <= last_line; ++i) {
    const std::uint64_t first = std::max(begin, layout_.FirstPlaceOf(i));
    const std::uint64_t past = std::min(end, layout_.FirstPlaceOf(i + 1));
    DCHECK_LT(first, past);
    const std::uint64_t last_from = piece.layout.LineOf(past - 1);
    for (std::uint64_t from = piece.layout.LineOf(first); from <= last_from; ++from) {
      merge(piece.lines + from * sizeof(Line),
            reinterpret_cast<std::uint8_t*>(Part(piece.stripe) + i));
    }
  }
}

Status CountingFilter::Load(std::string_view bytes, std::uint64_t push, std::string_view source) {
  std::vector<Piece> pieces;
  while (!bytes.empty()) {
    ASSIGN_OR_RETURN(pieces.emplace_back(), TakePiece(&bytes, source));
  }
  const std::uint64_t epoch = EpochOf(push);
  for (std::uint32_t stripe = 0; stripe < kStripes; ++stripe) {
    epochs_[stripe] = epoch;
    for (std::uint64_t i = 0; i < layout_.lines; ++i) {
      Part(stripe)[i].epoch = static_cast<std::uint8_t>(epoch);
    }
  }
  for (const Piece& piece : pieces) Merge(piece);
  return OkStatus();
}

}  // namespace cairn::ps
