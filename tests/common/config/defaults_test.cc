#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "common/base/str_cat.h"
#include "common/config/config.h"
#include "proto/config.pb.h"

namespace cairn {
namespace {

using testing::HasSubstr;

// Every field of every message that a job can hold.
void ExpectAllFields(const google::protobuf::Descriptor* message, const std::string& text,
                     std::set<const google::protobuf::Descriptor*>* seen) {
  if (!seen->insert(message).second) return;
  for (int i = 0; i < message->field_count(); ++i) {
    const auto* field = message->field(i);
    if (field->message_type() != nullptr) {
      EXPECT_THAT(text, HasSubstr(StrCat(field->name(), " {"))) << field->full_name();
      ExpectAllFields(field->message_type(), text, seen);
    } else {
      EXPECT_THAT(text, HasSubstr(StrCat(field->name(), ": "))) << field->full_name();
    }
  }
}

TEST(PrintDefaults, ShowsEveryField) {
  const std::string text = PrintDefaults();
  std::set<const google::protobuf::Descriptor*> seen;
  ExpectAllFields(proto::JobConfig::descriptor(), text, &seen);
  EXPECT_GT(seen.size(), 15u);
}

TEST(PrintDefaults, ShowsDefaultRangeAndComment) {
  const std::string text = PrintDefaults();
  EXPECT_THAT(text, HasSubstr("\n  # Rows of one step of one worker.\n"
                              "  batch_size: 4096  # a whole number, at least 1 and at most "
                              "1048576\n"));
  EXPECT_THAT(text, HasSubstr("\n# Shown in logs and in the run directory's name.\n"
                              "name: \"job\"  # text in quotes\n"));
  EXPECT_THAT(text, HasSubstr("  # STOP: end the run, naming file, line and column\n"));
  EXPECT_THAT(text, HasSubstr("quote: \"\\\"\"  # text in quotes\n"));
  EXPECT_THAT(text, HasSubstr("train: ...  # text in quotes; once or more\n"));
  EXPECT_THAT(text, HasSubstr("data {  # required\n"));
  EXPECT_THAT(text, HasSubstr("  # Choose one:\n"));
  EXPECT_THAT(text, HasSubstr("(Duchi, Hazan, Singer 2011)"));
}

}  // namespace
}  // namespace cairn
