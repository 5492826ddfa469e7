//! The bill of materials, in CycloneDX 1.5: the programs, every crate that cargo compiled into them with its checksum
//! and licence, and what is linked besides crates. It has no serial number and the commit's time, so that the same
//! commit gives the same bytes.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Package, PackageId};
use cyclonedx_bom::external_models::uri::Purl;
use cyclonedx_bom::models::component::{Classification, Component, Components};
use cyclonedx_bom::models::dependency::{Dependencies, Dependency};
use cyclonedx_bom::models::hash::{Hash, HashAlgorithm, HashValue, Hashes};
use cyclonedx_bom::models::license::{LicenseChoice, Licenses};
use cyclonedx_bom::models::tool::{Tool, Tools};
use cyclonedx_bom::prelude::{
    Bom, DateTime, Metadata, NormalizedString, SpdxExpression, Validate, ValidationResult,
};
use jiff::Timestamp;

use crate::compile::Built;
use crate::machine::{Machine, TARGET};
use crate::pack::sha256;

/// Writes it.
pub(crate) fn write(machine: &Machine, built: &Built<'_>) -> Result<Vec<u8>, String> {
    let checksums = checksums(machine)?;
    let mut components = Vec::new();
    for one in &built.crates {
        components.push(of_crate(
            one,
            checksums.get(&(one.name.to_string(), one.version.to_string())),
        )?);
        components.extend(vendored(one)?);
    }
    for (name, program) in &built.programs {
        let bytes =
            std::fs::read(&program.path).map_err(|error| format!("{}: {error}", program.path.display()))?;
        let version = program.package.version.to_string();
        let mut component = component(Classification::Application, name, &version, format!("bin/{name}"));
        component.hashes = Some(Hashes(vec![hash(sha256(&bytes))]));
        component.licenses = licence(program.package)?;
        components.push(component);
    }
    let mut std = component(
        Classification::Library,
        "rust-std",
        &machine.rustc,
        "rust-std".to_owned(),
    );
    std.description = Some(NormalizedString::new(&format!(
        "Rust's standard library for {TARGET}, with the musl that comes with it"
    )));
    std.licenses = Some(Licenses(vec![LicenseChoice::Expression(SpdxExpression::new(
        "(MIT OR Apache-2.0) AND MIT",
    ))]));
    components.push(std);

    let bill = Bom {
        metadata: Some(metadata(machine, built)?),
        components: Some(Components(components)),
        dependencies: Some(Dependencies(dependencies(machine, built))),
        ..Bom::default()
    };
    let judged: ValidationResult = bill.validate_version(cyclonedx_bom::models::bom::SpecVersion::V1_5);
    if !judged.passed() {
        return Err(format!(
            "the bill of materials is not as CycloneDX wants it: {judged:?}"
        ));
    }
    let mut bytes = Vec::new();
    bill.output_as_json_v1_5(&mut bytes)
        .map_err(|error| format!("the bill of materials cannot be written: {error}"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn metadata(machine: &Machine, built: &Built<'_>) -> Result<Metadata, String> {
    let time = i64::try_from(machine.epoch)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| format!("{} is no time", machine.epoch))?;
    let lockstep = built.lockstep()?.package;
    let mut whole = component(
        Classification::Application,
        "lockstep",
        &lockstep.version.to_string(),
        "lockstep".to_owned(),
    );
    whole.licenses = licence(lockstep)?;
    Ok(Metadata {
        timestamp: Some(DateTime::try_from(time.to_string()).map_err(|error| error.to_string())?),
        tools: Some(Tools::List(vec![Tool {
            name: Some(NormalizedString::new("cargo archive")),
            ..Tool::default()
        }])),
        component: Some(whole),
        ..Metadata::default()
    })
}

fn component(kind: Classification, name: &str, version: &str, reference: String) -> Component {
    Component::new(kind, name, version, Some(reference))
}

fn of_crate(package: &Package, checksum: Option<&String>) -> Result<Component, String> {
    let version = package.version.to_string();
    let mut component = component(
        Classification::Library,
        &package.name,
        &version,
        reference(package),
    );
    component.description = package.description.as_deref().map(NormalizedString::new);
    component.licenses = licence(package)?;
    component.hashes = checksum.map(|checksum| Hashes(vec![hash(checksum.clone())]));
    // Only what has a checksum is from the registry, where this name leads to it.
    if checksum.is_some() {
        component.purl = Some(purl("cargo", &package.name, &version)?);
    }
    Ok(component)
}

/// The C library inside a `-sys` crate, where the crate's version names it as in `libgit2-sys 0.18.8+1.9.7`.
fn vendored(package: &Package) -> Result<Option<Component>, String> {
    let (Some(name), false) = (
        package.name.strip_suffix("-sys"),
        package.version.build.is_empty(),
    ) else {
        return Ok(None);
    };
    let version = package.version.build.as_str();
    let mut component = component(
        Classification::Library,
        name,
        version,
        format!("{name} {version}"),
    );
    component.purl = Some(purl("generic", name, version)?);
    Ok(Some(component))
}

fn dependencies(machine: &Machine, built: &Built<'_>) -> Vec<Dependency> {
    let linked: BTreeMap<&PackageId, &Package> = built
        .crates
        .iter()
        .map(|package| (&package.id, *package))
        .collect();
    let mut dependencies = Vec::new();
    let nodes = machine.metadata.resolve.iter().flat_map(|resolve| &resolve.nodes);
    for node in nodes {
        let Some(package) = linked.get(&node.id) else {
            continue;
        };
        let needed: BTreeSet<_> = node
            .deps
            .iter()
            .filter(|needed| {
                needed
                    .dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            })
            .filter_map(|needed| linked.get(&needed.pkg))
            .map(|package| reference(package))
            .collect();
        dependencies.push(Dependency {
            dependency_ref: reference(package),
            dependencies: needed.into_iter().collect(),
        });
    }
    for (name, program) in &built.programs {
        dependencies.push(Dependency {
            dependency_ref: format!("bin/{name}"),
            dependencies: vec![reference(program.package), "rust-std".to_owned()],
        });
    }
    dependencies.push(Dependency {
        dependency_ref: "lockstep".to_owned(),
        dependencies: built.programs.keys().map(|name| format!("bin/{name}")).collect(),
    });
    dependencies.sort_by(|a, b| a.dependency_ref.cmp(&b.dependency_ref));
    dependencies
}

/// A package by name and version: its id has the path of the checkout in it.
fn reference(package: &Package) -> String {
    format!("{} {}", package.name, package.version)
}

fn licence(package: &Package) -> Result<Option<Licenses>, String> {
    let Some(text) = &package.license else {
        return Ok(None);
    };
    let expression = SpdxExpression::parse_lax(text.clone())
        .map_err(|error| format!("{}: licence {text:?}: {error}", package.name))?;
    Ok(Some(Licenses(vec![LicenseChoice::Expression(expression)])))
}

fn purl(kind: &str, name: &str, version: &str) -> Result<Purl, String> {
    Purl::new(kind, name, version).map_err(|error| format!("{name} {version}: {error}"))
}

fn hash(hex: String) -> Hash {
    Hash {
        alg: HashAlgorithm::SHA_256,
        content: HashValue(hex),
    }
}

/// The checksums of the crates from the registry, by name and version, as `Cargo.lock` pins them.
fn checksums(machine: &Machine) -> Result<BTreeMap<(String, String), String>, String> {
    let path = machine.root.join("Cargo.lock");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lock: toml::Table = toml::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let text = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(ToOwned::to_owned);
    Ok(packages
        .into_iter()
        .flatten()
        .filter_map(|package| {
            Some((
                (text(package, "name")?, text(package, "version")?),
                text(package, "checksum")?,
            ))
        })
        .collect())
}
