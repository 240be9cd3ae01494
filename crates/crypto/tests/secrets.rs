//! Secrets stay secret in logs, and mistyped words are explained without repeating them.

#![allow(clippy::unwrap_used)]

mod support;

use partita_crypto::{
    AeadKey, BoxSecretKey, EpochId, EpochKeys, EpochSecret, Mnemonic, MnemonicError, NoiseHandshake, Secret, SigningKey,
};
use support::{hex32, rng};

/// Failure mode 10: a secret is not in what is printed of it.
#[test]
fn debug_shows_no_secret_byte() {
    let secret = Secret::from_bytes([0xab; 32]);
    let key = SigningKey::from_seed(&secret);
    let mut ring = EpochKeys::new();
    ring.insert(EpochId::default(), EpochSecret(secret.clone()));
    ring.payload_key(&EpochId::default(), &[0; 32], &[0; 32]).unwrap();
    let mnemonic = Mnemonic::from_entropy(&secret);

    assert_eq!(format!("{secret:?}"), "Secret(..)");
    assert_eq!(format!("{mnemonic:?}"), "Mnemonic(..)");
    assert_eq!(format!("{key:?}"), format!("SigningKey(.., {:?})", key.verifying_key()));
    assert_eq!(format!("{:?}", BoxSecretKey::from_secret(&secret)), "BoxSecretKey(..)");
    assert_eq!(format!("{:?}", AeadKey::from_secret(&secret)), "AeadKey(..)");
    for shown in [format!("{ring:?}"), format!("{ring:#?}"), format!("{:?}", EpochSecret(secret.clone()))] {
        assert!(shown.contains("Secret(..)"), "{shown}");
        assert!(!shown.contains("abab") && !shown.contains("171"), "{shown}");
    }
    let handshake = NoiseHandshake::initiator(b"", &mut rng(1)).unwrap();
    assert_eq!(format!("{handshake:?}"), "NoiseHandshake { finished: false, .. }");
}

#[test]
fn secrets_compare_by_their_bytes() {
    let (a, b) = (Secret::<32>::random(&mut rng(1)), Secret::<32>::random(&mut rng(2)));
    assert_eq!(a, Secret::from_bytes(*a.expose()));
    assert_ne!(a, b);
}

/// Entropy and words from the vectors of BIP-39.
#[test]
fn words_are_those_of_bip_39() {
    let vectors = [
        ("00".repeat(32), format!("{}art", "abandon ".repeat(23))),
        ("ff".repeat(32), format!("{}vote", "zoo ".repeat(23))),
        (
            "7f".repeat(32),
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal \
             winner thank year wave sausage worth title"
                .to_owned(),
        ),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c".to_owned(),
            "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis \
             maple dilemma loan word shrug inflict delay length"
                .to_owned(),
        ),
    ];
    for (entropy, words) in vectors {
        let entropy = Secret::from_bytes(hex32(&entropy));
        assert_eq!(*Mnemonic::from_entropy(&entropy).phrase(), words);
        assert_eq!(Mnemonic::parse(&words).unwrap().entropy(), entropy);
    }
}

#[test]
fn random_words_come_back_however_they_are_typed() {
    for seed in 0..64 {
        let mnemonic = Mnemonic::from_entropy(&Secret::random(&mut rng(seed)));
        let phrase = mnemonic.phrase();
        assert_eq!(Mnemonic::parse(&phrase), Ok(mnemonic.clone()));
        assert_eq!(Mnemonic::parse(&format!("  {}\n", phrase.to_uppercase().replace(' ', "\n\t"))), Ok(mnemonic));
    }
}

/// Failure mode 10: an error about a secret does not contain it.
#[test]
fn a_typing_error_is_named_by_its_place_and_never_repeated() {
    let good = Mnemonic::from_entropy(&Secret::random(&mut rng(5)));
    let phrase = good.phrase();
    let words: Vec<&str> = phrase.split(' ').collect();

    let mut typo = words.clone();
    typo[6] = "secretword";
    let error = Mnemonic::parse(&typo.join(" ")).unwrap_err();
    assert_eq!(error, MnemonicError::UnknownWord { position: 7 });
    assert!(error.to_string().contains("word 7 "), "{error}");
    assert!(!format!("{error} {error:?}").contains("secretword"));

    assert_eq!(Mnemonic::parse(&words[1..].join(" ")), Err(MnemonicError::WordCount { found: 23 }));
    assert_eq!(Mnemonic::parse(&format!("{} zoo", *phrase)), Err(MnemonicError::WordCount { found: 25 }));
    assert_eq!(Mnemonic::parse(""), Err(MnemonicError::WordCount { found: 0 }));

    // 12 words with a right checksum are a mnemonic elsewhere, but not ours.
    let twelve = format!("{}about", "abandon ".repeat(11));
    assert_eq!(Mnemonic::parse(&twelve), Err(MnemonicError::WordCount { found: 12 }));

    let one_other = format!("{}art", "abandon ".repeat(22) + "zoo ");
    assert_eq!(Mnemonic::parse(&one_other), Err(MnemonicError::Checksum));
}
