//! Becoming one of the owner's devices.

use partita_core::{DeviceKeys, Keystore as _, KeystoreError, PartitionStrategy as _, StrategyEffect};
use partita_crypto::Mnemonic;

use super::{
    memory::Memory,
    net::{Device, rng, settle},
};
use crate::{Certificate, DeviceStanding, OwnerError, Request, SingleOwner, TextError};

#[test]
fn the_mnemonic_is_shown_once_and_never_kept() {
    let keystore = Memory::default();
    let (owner, mnemonic) = SingleOwner::create(&keystore, &mut rng(1)).unwrap();
    let kept: Vec<u8> = keystore.0.lock().unwrap().values().flatten().copied().collect();
    let secret = *mnemonic.entropy().expose();
    assert!(!kept.windows(32).any(|window| window == secret));
    let phrase = mnemonic.phrase();
    let words: Vec<&str> = phrase.split(' ').collect();
    assert!(!words.iter().any(|word| word.len() > 4 && kept.windows(word.len()).any(|part| part == word.as_bytes())));
    let derived = crate::owner::OwnerKeys::of(&mnemonic);
    for secret in [*derived.signing.seed().expose(), *derived.recovery.secret().expose()] {
        assert!(!kept.windows(32).any(|window| window == secret));
    }

    assert_eq!(SingleOwner::create(&keystore, &mut rng(2)).err(), Some(OwnerError::Exists));
    assert_eq!(SingleOwner::open(&keystore).unwrap().owner(), owner.owner());
    assert_eq!(owner.devices(), [], "nothing is in the context before the duties");
}

#[test]
fn a_device_is_certified_offline_before_any_network() {
    let (first, mnemonic) = Device::first(1);
    let keystore = Memory::default();
    let request = SingleOwner::request(&keystore, &mut rng(2)).unwrap();
    assert_eq!(SingleOwner::open(&keystore).err(), Some(OwnerError::NotCertified));

    // Somebody types the words on any device, after the request came as a text; the answer is typed back.
    let typed: Request = request.to_string().to_uppercase().parse().unwrap();
    let words = Mnemonic::parse(&mnemonic.phrase()).unwrap();
    let answer = SingleOwner::certify(&words, &typed).to_string();
    let wrapped: String =
        answer.chars().enumerate().flat_map(|(at, c)| [Some(c), (at % 60 == 59).then_some('\n')]).flatten().collect();
    SingleOwner::accept(&keystore, &wrapped.parse().unwrap()).unwrap();

    let device = SingleOwner::open(&keystore).unwrap();
    assert_eq!(device.context(), first.context);
    let mut device = Device::of(device, 2);
    assert!(device.strategy.epoch(&device.context).is_err(), "not before its certificate lies in the context");
    device.duties();
    let epoch = device.epoch().unwrap();
    device.seal(epoch, b"written before any network");
}

#[test]
fn the_request_is_the_same_each_time_and_the_key_is_made_once() {
    let keystore = Memory::default();
    let request = SingleOwner::request(&keystore, &mut rng(1)).unwrap();
    assert_eq!(SingleOwner::request(&keystore, &mut rng(2)).unwrap(), request);
    assert_eq!(request.device(), DeviceKeys::load(&keystore).unwrap().replica());
}

#[test]
fn a_missing_keystore_is_an_error_and_never_a_new_identity() {
    let empty = Memory::default();
    assert!(matches!(SingleOwner::open(&empty), Err(OwnerError::Keystore(KeystoreError::Missing(_)))));
    assert!(empty.0.lock().unwrap().is_empty());
    let damaged = Memory::default();
    SingleOwner::create(&damaged, &mut rng(1)).unwrap();
    damaged.put("single-owner", b"nonsense").unwrap();
    assert_eq!(SingleOwner::open(&damaged).err(), Some(OwnerError::Damaged));
}

#[test]
fn a_mistyped_text_is_named_as_such() {
    let keystore = Memory::default();
    let (_, mnemonic) = SingleOwner::create(&keystore, &mut rng(1)).unwrap();
    let request = SingleOwner::request(&keystore, &mut rng(2)).unwrap();
    let certificate = SingleOwner::certify(&mnemonic, &request);
    for (text, prefix) in [(request.to_string(), 16), (certificate.to_string(), 20)] {
        let parse = |text: &str| match prefix {
            16 => text.parse::<Request>().map(|_| ()),
            _ => text.parse::<Certificate>().map(|_| ()),
        };
        assert_eq!(parse(&text), Ok(()));
        let replace = |at: usize, with: char| -> String {
            text.chars().enumerate().map(|(n, c)| if n == at { with } else { c }).collect()
        };
        for at in prefix..text.len() {
            let other = if text.as_bytes()[at] == b'q' { 'z' } else { 'q' };
            assert_eq!(parse(&replace(at, other)), Err(TextError::Typo), "character {at}");
        }
        assert_eq!(parse(&replace(prefix + 4, '1')), Err(TextError::Character { position: 5 }));
        assert!(matches!(parse(&text[..text.len() - 1]), Err(TextError::Length { .. })));
        assert!(matches!(parse(&format!("{text}a")), Err(TextError::Length { .. })));
        assert!(matches!(parse(&text[3..]), Err(TextError::Prefix { .. })));
    }
    assert!(matches!(request.to_string().parse::<Certificate>(), Err(TextError::Prefix { .. })));
    assert!(matches!("partita-reqüest:".parse::<Request>(), Err(TextError::Prefix { .. })));
}

#[test]
fn a_certificate_is_accepted_only_by_its_own_device_and_first_owner() {
    let (mine, other) = (Memory::default(), Memory::default());
    let (_, mnemonic) = SingleOwner::create(&mine, &mut rng(1)).unwrap();
    let request = SingleOwner::request(&other, &mut rng(2)).unwrap();
    let certificate = SingleOwner::certify(&mnemonic, &request);
    assert_eq!(SingleOwner::accept(&mine, &certificate), Err(OwnerError::OtherDevice(request.device())));
    SingleOwner::accept(&other, &certificate).unwrap();
    SingleOwner::accept(&other, &certificate).unwrap();

    let stranger = Memory::default();
    let (_, strangers_words) = SingleOwner::create(&stranger, &mut rng(3)).unwrap();
    let taken_over = SingleOwner::certify(&strangers_words, &request);
    assert_eq!(SingleOwner::accept(&other, &taken_over), Err(OwnerError::Exists));
}

#[test]
fn a_new_device_reads_what_was_written_before_it() {
    let (mut laptop, mnemonic) = Device::first(1);
    laptop.duties();
    let epoch = laptop.epoch().unwrap();
    let (header, sealed) = laptop.seal(epoch, b"old note");
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    assert_eq!(phone.open(&header, laptop.replica, &sealed), partita_core::Opened::Plain("old note".into()));
    assert_eq!(laptop.epoch(), phone.epoch(), "both write under one epoch");
    let active = |device: &crate::DeviceInfo| device.standing == DeviceStanding::Active;
    assert_eq!(laptop.strategy.devices().len(), 2);
    assert!(laptop.strategy.devices().iter().all(active));
    assert_eq!(laptop.strategy.devices(), phone.strategy.devices());
}

#[test]
fn after_a_restart_the_keys_come_from_the_boxes_again() {
    let keystore = Memory::default();
    let (owner, mnemonic) = SingleOwner::create(&keystore, &mut rng(1)).unwrap();
    let mut laptop = Device::of(owner, 1);
    laptop.duties();
    let mut phone = Device::more(&mnemonic, 2);
    settle(&mut [&mut laptop, &mut phone]);
    let (header, sealed) = phone.seal(phone.epoch().unwrap(), b"from the phone");

    let mut again = SingleOwner::open(&keystore).unwrap();
    let effects = Device::effects_of_restart(&mut again, &laptop.entries);
    assert!(effects.contains(&StrategyEffect::KeysArrived));
    let again = Device::of(again, 1);
    assert_eq!(again.open(&header, phone.replica, &sealed), partita_core::Opened::Plain("from the phone".into()));
    assert_eq!(again.resolved(), laptop.resolved());
}

#[test]
fn debug_prints_no_secret() {
    let keystore = Memory::default();
    let (owner, mnemonic) = SingleOwner::create(&keystore, &mut rng(1)).unwrap();
    let mut device = Device::of(owner, 1);
    device.duties();
    let printed = format!("{:?} {mnemonic:?}", device.strategy);
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    let keys = keystore.0.lock().unwrap()["device"].clone();
    let mut secrets: Vec<Vec<u8>> = keys.chunks(32).map(<[u8]>::to_vec).collect();
    secrets.push(mnemonic.entropy().expose().to_vec());
    let epoch = device.epoch().unwrap();
    secrets.push(device.strategy.own[0].ring.keys.get(&epoch).unwrap().0.expose().to_vec());
    for secret in secrets {
        assert!(!printed.contains(&hex(&secret)) && !printed.contains(&list(&secret)));
    }
}
