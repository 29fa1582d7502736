//! `config.toml` of a home folder: strict, units in the names, no secrets.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ids::{DatasetId, PartyId, Subject};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The settings of one home folder. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this file's format; 1.
    pub version: u32,
    /// The HTTP service.
    pub http: HttpConfig,
    /// Bearer tokens.
    pub tokens: TokensConfig,
    /// The query engine.
    pub engine: EngineConfig,
    /// The audit log.
    pub log: LogSection,
    /// Who asks when the command line is used on the home itself.
    pub local: LocalConfig,
}

/// Section `[http]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// Where to listen. Only loopback is served without TLS.
    pub listen: SocketAddr,
    /// Largest request body in bytes.
    pub body_bytes_max: usize,
    /// Longest time one request may take, in seconds.
    pub request_seconds_max: u64,
    /// Requests served at the same time; the rest wait.
    pub concurrent_requests_max: usize,
    /// How long a shutdown waits for requests under way, in seconds.
    pub shutdown_seconds_max: u64,
}

/// Section `[tokens]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensConfig {
    /// The only accepted `iss`.
    pub issuer: String,
    /// The only accepted `aud`.
    pub audience: String,
    /// Longest life of a token that `cleanroom token` makes, in seconds.
    pub lifetime_seconds_max: u32,
    /// Keys of another issuer (JWKS file, relative to the home); without it the home's own token key counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<PathBuf>,
}

/// Section `[engine]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EngineConfig {
    /// Scanning threads, 1 to 256.
    pub threads: usize,
    /// Answers leave on multiples of this, in milliseconds.
    pub tick_millis: u64,
    /// Memory for the unsealed tables, in bytes; what does not fit is refused.
    pub memory_bytes_max: u64,
}

/// Section `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// Name of the log in its checkpoints; it cannot be changed later.
    pub origin: String,
}

/// Section `[local]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalConfig {
    /// The name that entries of the log carry for commands run on this machine.
    pub subject: Subject,
    /// The party asked for where a command names none.
    pub party: PartyId,
}

impl Config {
    /// The settings of a fresh home for `dataset` whose commands ask as `party`.
    ///
    /// # Errors
    ///
    /// None in practice: the built-in names are valid.
    pub fn fresh(dataset: &DatasetId, party: PartyId) -> Result<Self, Failure> {
        let subject =
            "local".parse().map_err(|why| Failure::failed("config", "cannot make a configuration", why))?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            version: 1,
            http: HttpConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
                body_bytes_max: 64 * 1024,
                request_seconds_max: 120,
                concurrent_requests_max: 64,
                shutdown_seconds_max: 20,
            },
            tokens: TokensConfig {
                issuer: "cleanroom-local".to_owned(),
                audience: "cleanroom".to_owned(),
                lifetime_seconds_max: 86_400,
                jwks: None,
            },
            engine: EngineConfig { threads: cores.min(8), tick_millis: 50, memory_bytes_max: 8 << 30 },
            log: LogSection { origin: format!("cleanroom.local/{dataset}") },
            local: LocalConfig { subject, party },
        })
    }

    /// Reads and checks the file.
    ///
    /// # Errors
    ///
    /// A missing file, an unknown or missing key, a value outside its range; the place is the file.
    pub fn load(path: &Path) -> Result<Self, Failure> {
        let refused = |why: String| {
            Failure::failed("config_refused", "cannot use the configuration", why)
                .at(path.display())
                .way_out("correct the file; `cleanroom init --home OTHER` writes a fresh one to compare with")
        };
        let text = std::fs::read_to_string(path).map_err(|why| refused(why.to_string()))?;
        let config: Self = toml::from_str(&text).map_err(|why| refused(why.to_string().trim().to_owned()))?;
        config.check().map_err(refused)?;
        Ok(config)
    }

    /// The file's text.
    ///
    /// # Errors
    ///
    /// A value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string_pretty(self)
            .map_err(|why| Failure::failed("config", "cannot write a configuration", why))
    }

    fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("`{name}` is {value}; it must lie between {low} and {high}"))
            }
        };
        let size = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        within("version", u64::from(self.version), 1, 1)?;
        within("http.body_bytes_max", size(self.http.body_bytes_max), 1024, 16 << 20)?;
        within("http.request_seconds_max", self.http.request_seconds_max, 1, 3600)?;
        within("http.concurrent_requests_max", size(self.http.concurrent_requests_max), 1, 65_536)?;
        within("http.shutdown_seconds_max", self.http.shutdown_seconds_max, 0, 3600)?;
        within("tokens.lifetime_seconds_max", u64::from(self.tokens.lifetime_seconds_max), 60, 604_800)?;
        within("engine.threads", size(self.engine.threads), 1, 256)?;
        within("engine.tick_millis", self.engine.tick_millis, 1, 60_000)?;
        within("engine.memory_bytes_max", self.engine.memory_bytes_max, 64 << 20, 1 << 46)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh() -> Config {
        Config::fresh(&"retail".parse().unwrap(), "retailer".parse().unwrap()).unwrap()
    }

    fn load(text: &str) -> Result<Config, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Config::load(&path)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text = fresh().to_toml().unwrap();
        assert_eq!(load(&text).unwrap(), fresh());
    }

    #[test]
    fn unknown_keys_and_values_out_of_range_are_refused_with_the_place() {
        let text = fresh().to_toml().unwrap();
        let unknown = text.replace("[tokens]", "[tokens]\nspeed = 1");
        assert!(load(&unknown).unwrap_err().to_string().contains("speed"));
        let zero = text.replace("tick_millis = 50", "tick_millis = 0");
        let refused = load(&zero).unwrap_err().to_string();
        assert!(refused.contains("engine.tick_millis") && refused.contains("config.toml"), "{refused}");
    }
}
