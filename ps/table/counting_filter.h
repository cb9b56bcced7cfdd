// Counts how often keys were sighted, in a fixed amount of memory.
//
// A counting Bloom filter in blocks of one cache line: a key touches one line, and in it three
// counters, one in each third of the line. A sighting adds one to those of the three that are
// smallest (conservative update; Estan, Varghese 2002), and a key's count is the smallest of the
// three. So a count may be too large, where other keys share all three counters, and is never too
// small, up to `max_count`.
//
//   line = 63 bytes of counters of 1, 2 or 4 bits, then the epoch (one byte) up to which the line
//          has been aged
//   place of a key = the bits of MixedKey(key) without the stripe's (58 bits; slot bits highest)
//   part of a stripe = lines; line i counts the keys whose places lie in the i-th of equal parts of
//          the server's slots
//
// The narrowest counters that can tell are used: 1 bit where two sightings matter, 2 bits up to
// four, else 4 bits; fewer bits are more counters, thus fewer false counts.
//
// Ageing: after every `halve_after` pushes all counts are halved (rounded down). Nothing is
// passed over for that: a line is halved when it is next touched, once for each epoch missed, so
// the counts are a function of the push numbers and no push waits for a pass. A line untouched for
// 256 epochs may be halved too seldom, which counts too often.
//
// Because lines stand in the order of the slots, saved parts of any number of servers, with any
// ranges of slots and any sizes, can be loaded: a line takes the larger of what all saved lines
// that counted some of its keys say. With equal ranges and sizes that is the saved filter itself;
// else lines whose borders do not match count too often until they age.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "ps/table/key_groups.h"
#include "ps/table/pages.h"

namespace cairn::ps {

// Thread-safety: Count needs the lock of the stripe it names, SaveStripe at least its reader's
// lock; calls for different stripes may run at once. Load must run alone.
class CountingFilter {
 public:
  struct Options {
    std::size_t bytes = 0;          // 4096 or more; rounded down to a multiple of 4096
    std::uint32_t threshold = 15;   // counts up to this are told apart; 2 to 16
    std::uint64_t halve_after = 0;  // pushes; 0: counts never age
    std::uint64_t table_salt = 0;   // saved parts of another table are refused
    SlotRange slots;                // only keys of these may be counted
  };

  explicit CountingFilter(const Options& options);

  // Counts one sighting of each key, all of this stripe, in push number `push`. counts[i] =
  // sightings of keys[i], this one included, at least; `max_count() + 1` stands for any more.
  // Lines are prefetched, so many keys in one call are much faster than one by one. A push with a
  // smaller number than an earlier one's, by no more than is in flight, counts with the later one.
  void Count(std::uint32_t stripe, std::span<const std::uint64_t> keys, std::uint64_t push,
             std::uint8_t* counts);

  // Largest value of a counter: threshold - 1 or more.
  std::uint32_t max_count() const { return (1u << width_) - 1; }
  std::size_t bytes() const { return memory_.bytes() + sizeof(*this); }

  // Appends the stripe's part as it stands at push number `push`:
  //   piece = "CAIRNCF1"  width:u32  stripe:u32  salt:u64  places_begin:u64  places:u64  lines:u64
  //           line * lines (epoch byte 0)  XXH3-64 of all before:u64     (little-endian)
  void SaveStripe(std::uint32_t stripe, std::uint64_t push, std::string* out) const;

  // Adds saved pieces, any number one behind the other, for a server that goes on with push number
  // `push`; to be called before the first Count, once for each server that saved. Pieces of foreign
  // slots are passed over. Errors leave the filter as it was; `source` names the bytes in them.
  // DataLoss: damaged or cut short. FailedPrecondition: another version, another table, or counters
  // of another width (the threshold was changed).
  Status Load(std::string_view bytes, std::uint64_t push, std::string_view source);

 private:
  struct alignas(64) Line {
    std::uint8_t counters[63];
    std::uint8_t epoch;
  };
  static_assert(sizeof(Line) == 64);

  // Which lines count which places.
  struct Layout {
    std::uint64_t begin = 0;  // first place
    std::uint64_t size = 0;   // places
    std::uint64_t lines = 0;
    std::uint64_t scale = 0;  // lines * 2^64 / size

    static Layout Of(std::uint64_t begin, std::uint64_t size, std::uint64_t lines);
    std::uint64_t LineOf(std::uint64_t place) const;
    std::uint64_t FirstPlaceOf(std::uint64_t line) const;  // of line `lines`: one past the last
  };
  struct Piece {
    std::uint32_t stripe = 0;
    Layout layout;
    const std::byte* lines = nullptr;  // of any alignment; borrows the bytes
  };

  Line* Part(std::uint32_t stripe) const {
    return reinterpret_cast<Line*>(memory_.data()) + stripe * layout_.lines;
  }
  std::uint64_t EpochOf(std::uint64_t push) const {
    return halve_after_ == 0 ? 0 : push / halve_after_;
  }
  void Age(Line& line, std::uint8_t epoch) const;
  std::uint8_t CountInLine(Line& line, std::uint64_t mixed) const;
  Result<Piece> TakePiece(std::string_view* bytes, std::string_view source) const;
  void Merge(const Piece& piece);

  std::uint32_t width_;  // bits of a counter
  std::uint64_t halve_after_;
  std::uint64_t table_salt_;
  Layout layout_;
  Pages memory_;
  std::array<std::uint64_t, kStripes> epochs_{};  // of each stripe's newest push
};

}  // namespace cairn::ps
