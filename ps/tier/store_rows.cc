#include "ps/tier/store_rows.h"

#include <algorithm>
#include <vector>

#include "ps/table/row_layout.h"

namespace cairn::ps {
namespace {

struct Place {
  RowKey key;
  std::uint32_t index;  // in the caller's keys
};

}  // namespace

Status StoreRows::Fetch(std::span<const std::uint64_t> keys,
                        const std::function<void(std::size_t, std::string_view)>& visit) const {
  std::vector<Place> places;
  places.reserve(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    const auto slot = static_cast<std::uint16_t>(slots_.SlotOfMixed(MixedKey(keys[i])));
    places.push_back({{slot, table_, keys[i]}, i});
  }
  std::ranges::sort(places, {}, &Place::key);
  std::vector<EncodedRowKey> encoded;
  encoded.reserve(places.size());
  std::vector<std::string_view> wanted;
  wanted.reserve(places.size());
  for (const Place& place : places) {
    const EncodedRowKey& key = encoded.emplace_back(EncodeRowKey(place.key));
    wanted.emplace_back(key.data(), key.size());
  }
  return store_->GetMany(Family::kRows, wanted, [&](std::size_t i, std::string_view record) {
    visit(places[i].index, record);
  });
}

}  // namespace cairn::ps
