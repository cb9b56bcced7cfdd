#include "ps/table/admission.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/math/rng.h"
#include "proto/config.pb.h"

namespace cairn::ps {
namespace {

constexpr std::uint32_t kStripe = 9;
constexpr std::uint64_t kSeed = 1, kSalt = 2;

proto::AdmissionConfig Config(std::uint32_t min_pushes, double probability = 1) {
  proto::AdmissionConfig config;
  config.set_min_pushes(min_pushes);
  config.set_filter_mib(1);
  config.set_probability(probability);
  return config;
}

std::unique_ptr<Admission> Make(const proto::AdmissionConfig& config, std::uint64_t seed = kSeed,
                                std::uint64_t salt = kSalt) {
  return Admission::Make(config, seed, salt, SlotRange{}).value();
}

std::vector<std::uint64_t> Keys(std::size_t n, std::uint64_t seed) {
  Rng rng(seed, 0);
  std::vector<std::uint64_t> keys;
  while (keys.size() < n) {
    const std::uint64_t key = rng.NextU64();
    if (StripeOf(MixedKey(key)) == kStripe) keys.push_back(key);
  }
  return keys;
}

std::vector<bool> Admit(Admission& admission, std::span<const std::uint64_t> keys,
                        std::uint64_t push) {
  const auto admitted = std::make_unique<bool[]>(keys.size());
  admission.Admit(kStripe, keys, push, admitted.get());
  return std::vector<bool>(admitted.get(), admitted.get() + keys.size());
}

TEST(Admission, ByDefaultEveryKeyIsAdmittedAndNoMemoryTaken) {
  const auto admission = Make({});
  EXPECT_TRUE(admission->admits_all());
  EXPECT_EQ(admission->bytes(), sizeof(Admission));
  EXPECT_EQ(Admit(*admission, Keys(300, 1), 1), std::vector<bool>(300, true));
}

TEST(Admission, ARowIsMadeAtThePushThatTheConfigNames) {
  for (std::uint32_t min_pushes = 2; min_pushes <= 15; ++min_pushes) {
    const auto admission = Make(Config(min_pushes));
    EXPECT_FALSE(admission->admits_all());
    const auto keys = Keys(20, min_pushes);
    for (std::uint32_t push = 1; push < min_pushes + 3; ++push) {
      EXPECT_EQ(Admit(*admission, keys, push), std::vector<bool>(20, push >= min_pushes));
    }
    EXPECT_EQ(admission->counts().admitted, 3u * 20);
    EXPECT_EQ(admission->counts().refused, (min_pushes - 1) * 20);
  }
}

// A stream of sightings of keys that are sighted m times with probability about 1 / m^2, up to 50
// times; admitted keys are not asked about again. Returns the share of admitted ones among the keys
// with fewer than min_pushes sightings. Every key with more must have been admitted.
double FalseRate(std::uint32_t min_pushes, std::size_t keys_per_byte) {
  constexpr std::size_t kPartBytes = (1u << 20) / kStripes;
  const auto admission = Make(Config(min_pushes));
  const auto keys = Keys(kPartBytes * keys_per_byte, 100 * min_pushes + keys_per_byte);
  Rng rng(4, min_pushes);
  std::vector<std::uint32_t> stream;  // places in `keys`
  std::vector<std::uint32_t> sightings(keys.size());
  for (std::uint32_t i = 0; i < keys.size(); ++i) {
    sightings[i] = static_cast<std::uint32_t>(std::min(50.0, 1 / (1 - rng.NextDouble())));
    stream.insert(stream.end(), sightings[i], i);
  }
  for (std::size_t i = stream.size(); i > 1; --i)
    std::swap(stream[i - 1], stream[rng.NextBelow(i)]);
  std::vector<bool> has_row(keys.size());
  for (const std::uint32_t i : stream) {
    bool admitted = false;
    if (!has_row[i]) admission->Admit(kStripe, {&keys[i], 1}, 1, &admitted);
    if (admitted) has_row[i] = true;
  }
  double few = 0, wrong = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (sightings[i] >= min_pushes) {
      EXPECT_TRUE(has_row[i]) << sightings[i] << " sightings";
    } else {
      few += 1;
      wrong += has_row[i] ? 1 : 0;
    }
  }
  return wrong / few;
}

// The table in admission.h.
TEST(Admission, KeysAreSeldomAdmittedTooEarly) {
  constexpr std::size_t kKeysPerByte[] = {1, 2, 4};
  struct Case {
    std::uint32_t min_pushes;
    double rates[3];
  };
  for (const Case& c : {Case{2, {0.013, 0.072, 0.26}}, Case{3, {0.024, 0.12, 0.41}},
                        Case{5, {0.029, 0.17, 0.57}}, Case{10, {0.003, 0.021, 0.18}}}) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_NEAR(FalseRate(c.min_pushes, kKeysPerByte[i]), c.rates[i], 0.004 + c.rates[i] / 20)
          << "min_pushes " << c.min_pushes << ", keys per byte " << kKeysPerByte[i];
    }
  }
}

TEST(Admission, LotsComeOutAsOftenAsTheConfigSays) {
  for (const double probability : {0.01, 0.3, 0.9}) {
    const auto admission = Make(Config(1, probability));
    constexpr double kN = 20'000;
    const auto drawn = Admit(*admission, Keys(static_cast<std::size_t>(kN), 5), 1);
    const auto hits = static_cast<double>(std::count(drawn.begin(), drawn.end(), true));
    const double sigma = std::sqrt(kN * probability * (1 - probability));
    EXPECT_NEAR(hits, kN * probability, 5 * sigma);
  }
}

TEST(Admission, ALotDependsOnSeedTableKeyAndPushAndOnNothingElse) {
  const auto keys = Keys(500, 6);
  const auto config = Config(1, 0.5);
  const auto first = Admit(*Make(config), keys, 7);
  const auto admission = Make(config);
  Admit(*admission, Keys(50, 7), 3);
  EXPECT_EQ(Admit(*admission, keys, 7), first);
  for (std::size_t i = 0; i < keys.size(); i += 50) {
    EXPECT_EQ(Admit(*admission, {&keys[i], 1}, 7)[0], first[i]);
  }
  const auto differing = [&first](const std::vector<bool>& other) {
    int n = 0;
    for (std::size_t i = 0; i < first.size(); ++i) n += first[i] != other[i];
    return n;
  };
  // 250 are expected, with a standard deviation of 11.
  EXPECT_NEAR(differing(Admit(*admission, keys, 8)), 250, 60);
  EXPECT_NEAR(differing(Admit(*Make(config, kSeed + 1), keys, 7)), 250, 60);
  EXPECT_NEAR(differing(Admit(*Make(config, kSeed, kSalt + 1), keys, 7)), 250, 60);
}

TEST(Admission, AKeyNeedsBothEnoughPushesAndItsLot) {
  const auto keys = Keys(200, 8);
  const auto lots = Make(Config(1, 0.5));
  const auto both = Make(Config(3, 0.5));
  for (std::uint64_t push = 1; push < 6; ++push) {
    const auto expected = push < 3 ? std::vector<bool>(200, false) : Admit(*lots, keys, push);
    EXPECT_EQ(Admit(*both, keys, push), expected);
  }
}

TEST(Admission, CountsAgeAsTheConfigSays) {
  auto config = Config(4);
  config.set_halve_after_pushes(10);
  const auto admission = Make(config);
  const auto keys = Keys(20, 9);
  for (std::uint64_t push = 0; push < 3; ++push) Admit(*admission, keys, push);
  EXPECT_EQ(Admit(*admission, keys, 10)[0], false);  // 3, halved to 1, and 1
  EXPECT_EQ(Admit(*admission, keys, 11)[0], false);
  EXPECT_EQ(Admit(*admission, keys, 12)[0], true);
}

TEST(Admission, CountsAreSavedAndLoaded) {
  const auto keys = Keys(20, 10);
  const auto before = Make(Config(3));
  Admit(*before, keys, 1);
  Admit(*before, keys, 2);
  std::string saved;
  for (std::uint32_t s = 0; s < kStripes; ++s) before->SaveStripe(s, 2, &saved);
  const auto after = Make(Config(3));
  ASSERT_TRUE(after->Load(saved, 2, "test").ok());
  EXPECT_EQ(Admit(*after, keys, 3), std::vector<bool>(20, true));
  const auto changed = Make(Config(10));
  EXPECT_EQ(changed->Load(saved, 2, "test").code(), absl::StatusCode::kFailedPrecondition);
  const auto without = Make(Config(1));
  EXPECT_TRUE(without->Load(saved, 2, "test").ok());
}

TEST(Admission, ValuesOutOfRangeAreNamed) {
  for (const auto& [config, field] : {std::pair{Config(0), "min_pushes"},
                                      {Config(16), "min_pushes"},
                                      {Config(2, 0), "probability"},
                                      {Config(2, 1.1), "probability"},
                                      {Config(2, std::nan("")), "probability"}}) {
    const auto made = Admission::Make(config, kSeed, kSalt, SlotRange{});
    ASSERT_EQ(made.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(made.status().message().find(field), std::string_view::npos) << made.status();
  }
}

}  // namespace
}  // namespace cairn::ps
