//! The codes: what a mistake is called, for ever, and the page that explains it.

use serde::Serialize;

macro_rules! codes {
    ($($(#[$doc:meta])+ $name:ident = $code:literal,)+) => {
        /// Which kind of mistake a diagnostic reports. A code never changes its meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[$doc])+ $name,)+
        }

        impl Code {
            /// All codes, in their order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The code as it is printed.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }
        }

        /// The page that explains a code: what it means, an example, what to do.
        #[must_use]
        pub fn explain(code: Code) -> &'static str {
            match code {
                $(Code::$name => include_str!(concat!("codes/", $code, ".md")),)+
            }
        }
    };
}

codes! {
    /// A document is not TOML.
    TomlSyntax = "LS0101",
    /// A document is not text.
    NotUtf8 = "LS0102",
    /// A document is nested too deeply.
    TooDeep = "LS0103",
    /// A number that no schema can judge, or no service can read.
    NumberRange = "LS0104",
    /// The contents of a file that has to be judged were not given.
    NotLoaded = "LS0105",
    /// The keys of a document are too long.
    LongKeys = "LS0106",
    /// A document is not JSON.
    JsonSyntax = "LS0107",
    /// A document is not YAML that every program reads the same.
    YamlSyntax = "LS0108",
    /// A key that the schema does not know.
    UnknownKey = "LS0111",
    /// A key that the schema requires is missing.
    MissingKey = "LS0112",
    /// A value of another type than the schema wants.
    WrongType = "LS0113",
    /// A value that is none of those the schema lists.
    NotAllowed = "LS0114",
    /// A number outside its bounds.
    OutOfRange = "LS0115",
    /// A text, list or table that is too short or too long.
    WrongSize = "LS0116",
    /// A text that does not have the form the schema wants.
    WrongForm = "LS0117",
    /// A value that fits none, or more than one, of several variants.
    NoVariant = "LS0118",
    /// A list that holds the same entry twice.
    Repeated = "LS0119",
    /// Another rule of the schema is broken.
    SchemaRule = "LS0120",
    /// A revision has more mistakes than are listed.
    MoreMistakes = "LS0121",
    /// The policy has a table that this build does not know.
    PolicyTable = "LS0201",
    /// The policy is of a version that this build does not know.
    PolicyVersion = "LS0202",
    /// A document that the policy names is not in the revision.
    DocumentAbsent = "LS0203",
    /// A schema that the policy names is not in the revision.
    SchemaAbsent = "LS0204",
    /// A schema is not JSON.
    SchemaSyntax = "LS0205",
    /// A schema is not a valid JSON Schema.
    SchemaInvalid = "LS0206",
    /// A schema refers to something that is not in the repository.
    SchemaReference = "LS0207",
    /// The policy names a document twice.
    DocumentTwice = "LS0208",
    /// The policy names a path, or a key, that cannot be one.
    PolicyPath = "LS0209",
    /// A schema takes too much work to apply.
    SchemaEffort = "LS0210",
    /// A rule of the policy cannot be understood.
    RuleInvalid = "LS0211",
    /// A rule takes too much work to evaluate.
    RuleEffort = "LS0212",
    /// A rule came to an error on a document.
    RuleFailed = "LS0213",
    /// A pattern for secrets that the policy names cannot be used.
    PatternInvalid = "LS0214",
    /// A file is larger than the limit.
    FileSize = "LS0301",
    /// There are more files than the limit.
    FileCount = "LS0302",
    /// All files together are larger than the limit.
    TotalSize = "LS0303",
    /// Something that is in the revision cannot be published at all.
    NotPublishable = "LS0304",
    /// A secret lies in a file.
    Secret = "LS0305",
    /// A rule of the policy does not hold.
    RuleBroken = "LS0401",
    /// A change that takes a second person has none.
    ApprovalMissing = "LS0402",
    /// A file that is to be converted is not YAML.
    YamlUnreadable = "LS0501",
    /// Something in YAML that TOML cannot say.
    NoTomlValue = "LS0502",
    /// Something in YAML that TOML says differently, or that two readers of YAML take differently.
    SaidDifferently = "LS0503",
    /// A mapping has a mistake.
    MappingInvalid = "LS0504",
    /// A key that the mapping does not name.
    NotMapped = "LS0505",
    /// A key or value that cannot become what the mapping wants.
    NotConverted = "LS0506",
    /// A value in which two documents differ that should say the same.
    Differs = "LS0507",
    /// A change of a schema that breaks configs.
    BreaksConfigs = "LS0601",
    /// A change of a schema that breaks services.
    BreaksServices = "LS0602",
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// There is no such code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no code {0:?}: they run from LS0101, as printed in brackets before a message")]
pub struct UnknownCode(pub String);

impl std::str::FromStr for Code {
    type Err = UnknownCode;

    /// Takes a code in any case.
    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        let found = Self::ALL
            .iter()
            .find(|code| code.as_str().eq_ignore_ascii_case(text));
        found.copied().ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_page_that_names_it_and_says_what_to_do() {
        for code in Code::ALL {
            let page = explain(*code);
            assert!(
                page.starts_with(&format!("# {code}: ")),
                "{code} opens with its name"
            );
            assert!(page.contains("## What to do"), "{code} says what to do");
            assert_eq!(code.as_str().to_lowercase().parse(), Ok(*code));
        }
    }

    #[test]
    fn codes_are_in_order_and_distinct() {
        assert!(Code::ALL.windows(2).all(|two| two[0].as_str() < two[1].as_str()));
        assert!("LS9999".parse::<Code>().is_err());
    }
}
