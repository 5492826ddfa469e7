//! What secrets look like that somebody issues: the forms of keys and tokens, by who gives them out.

/// A known form.
pub(super) struct Known {
    /// What the policy, a fingerprint and people call it.
    pub(super) name: &'static str,
    /// What it is, as a phrase.
    pub(super) what: &'static str,
    /// Texts of which one is in each of them, in any case: without one the expression is not even tried.
    pub(super) hints: &'static [&'static str],
    /// Its form; where there is a group, the group is the secret.
    pub(super) form: &'static str,
}

const fn known(
    name: &'static str,
    what: &'static str,
    hints: &'static [&'static str],
    form: &'static str,
) -> Known {
    Known {
        name,
        what,
        hints,
        form,
    }
}

/// The name of what is found by its key's name alone.
pub(super) const TELLING: &str = "telling-key";
/// The name of a private key, whose end is looked for.
pub(super) const PRIVATE_KEY: &str = "private-key";
/// The name of a password in a URL, of which placeholders are common.
pub(super) const URL_PASSWORD: &str = "url-password";

/// All of them: where two overlap, the earlier one is told.
#[rustfmt::skip]
pub(super) const KNOWN: &[Known] = &[
    known(PRIVATE_KEY, "a private key", &["private key", "putty-user-key-file"], r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-[0-9]+:"),
    known("age-key", "an age identity", &["age-secret-key-1"], r"\bAGE-SECRET-KEY-1[0-9A-Z]{58}"),
    known("aws-access-key", "an AWS access key", &["akia", "asia", "abia", "acca"], r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    known("gcp-api-key", "a Google API key", &["aiza"], r"\bAIza[0-9A-Za-z_-]{35}"),
    known("gcp-oauth-token", "a Google OAuth token", &["ya29."], r"\bya29\.[0-9A-Za-z_-]{20,}"),
    known("gcp-client-secret", "a Google client secret", &["gocspx-"], r"\bGOCSPX-[0-9A-Za-z_-]{28}"),
    known("azure-storage-key", "an Azure account key", &["accountkey=", "sharedaccesskey="], r"(?i:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{43,}={1,2})"),
    known("azure-sas", "an Azure shared access signature", &["sig="], r"[?&]sig=([A-Za-z0-9%+/]{40,}={0,2})"),
    known("azure-client-secret", "an Azure client secret", &["q~"], r"\b([A-Za-z0-9_~.-]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})"),
    known("github-token", "a GitHub token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"], r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,})"),
    known("gitlab-token", "a GitLab token", &["glpat-", "gldt-", "glrt-", "glcbt-", "glptt-", "glft-", "glsoat-", "glagent-", "gloas-", "glimt-"], r"\bgl(?:pat|dt|rt|cbt|ptt|ft|soat|agent|oas|imt)-[A-Za-z0-9_=.-]{20,}"),
    known("slack-token", "a Slack token", &["xoxa-", "xoxb-", "xoxe", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-"], r"\b(?:xox[abeoprs](?:\.xox[bp])?|xapp)-[A-Za-z0-9-]{10,}"),
    known("slack-webhook", "a Slack webhook", &["hooks.slack.com/"], r"https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/_-]{20,}"),
    known("discord-webhook", "a Discord webhook", &["/api/webhooks/"], r"https://(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/[0-9]+/[A-Za-z0-9_-]{40,}"),
    known("telegram-token", "a Telegram bot token", &[":aa"], r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{33}\b"),
    known("stripe-key", "a Stripe key", &["sk_live_", "sk_test_", "rk_live_", "rk_test_", "whsec_"], r"\b(?:(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9]{24,})"),
    known("square-token", "a Square token", &["sq0atp-", "sq0csp-"], r"\bsq0(?:atp|csp)-[A-Za-z0-9_-]{22,}"),
    known("shopify-token", "a Shopify token", &["shpat_", "shpca_", "shppa_", "shpss_"], r"\bshp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"),
    known("npm-token", "an npm token", &["npm_"], r"\bnpm_[A-Za-z0-9]{36}"),
    known("pypi-token", "a PyPI token", &["pypi-ag"], r"\bpypi-Ag[A-Za-z0-9_-]{50,}"),
    known("crates-io-token", "a crates.io token", &["cio"], r"\bcio[A-Za-z0-9]{32}\b"),
    known("docker-token", "a Docker Hub token", &["dckr_pat_", "dckr_oat_"], r"\bdckr_[po]at_[A-Za-z0-9_-]{27,}"),
    known("anthropic-key", "an Anthropic key", &["sk-ant-"], r"\bsk-ant-[a-z0-9]+-[A-Za-z0-9_-]{40,}"),
    known("openai-key", "an OpenAI key", &["t3blbkfj"], r"\bsk-[A-Za-z0-9_-]{16,}T3BlbkFJ[A-Za-z0-9_-]{16,}"),
    known("hugging-face-token", "a Hugging Face token", &["hf_"], r"\bhf_[A-Za-z0-9]{34}\b"),
    known("digitalocean-token", "a DigitalOcean token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"\bdo[opr]_v1_[a-f0-9]{64}"),
    known("vault-token", "a Vault token", &["hvs.", "hvb.", "hvr."], r"\bhv[sbr]\.[A-Za-z0-9_-]{24,}"),
    known("terraform-token", "a Terraform token", &[".atlasv1."], r"\b[A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_-]{60,}"),
    known("databricks-token", "a Databricks token", &["dapi"], r"\bdapi[a-f0-9]{32}\b"),
    known("grafana-token", "a Grafana token", &["glsa_", "glc_"], r"\b(?:glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8}|glc_[A-Za-z0-9+/]{32,}={0,2})"),
    known("sendgrid-key", "a SendGrid key", &["sg."], r"\bSG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{30,}"),
    known("mailgun-key", "a Mailgun key", &["key-"], r"\bkey-[0-9a-f]{32}\b"),
    known("twilio-key", "a Twilio key", &["sk"], r"\bSK[0-9a-f]{32}\b"),
    known("linear-key", "a Linear key", &["lin_api_"], r"\blin_api_[A-Za-z0-9]{32,}"),
    known("jwt", "a JSON Web Token", &["eyj"], r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    known("authorization", "what logs somebody in", &["basic ", "bearer "], r#"(?i)\bauthorization["']?\s*[:=]\s*["']?(?:basic|bearer)\s+([a-z0-9+/=_.~-]{16,})"#),
    known(URL_PASSWORD, "a password in a URL", &["://"], r#"[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@"'<>]*:([^\s/@"'<>]{3,200})@"#),
];
