//! Clauses that every agreement has without writing them: what is not allowed is denied, what fails is denied.

use ids::ClauseId;

use crate::Lang;

/// A clause of the machine itself. The ids are stable: they stand in logs and in cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BuiltIn {
    /// No clause allows it.
    DefaultDeny,
    /// A rule failed, or the rules do not fit the request.
    PolicyError,
    /// A clause that would decide has expired.
    ClauseExpired,
    /// The party is in no facts file.
    UnknownParty,
    /// The party's people do not have this role.
    UnknownRole,
    /// The purpose is not on the agreement's list.
    UnknownPurpose,
    /// The dataset is in no facts file.
    UnknownDataset,
    /// The table has no levels in the facts.
    UnknownTable,
    /// The column has no level in the facts.
    UnknownColumn,
    /// No contract binds the party to the dataset.
    NoContract,
    /// The contract is not in force today.
    ContractNotInForce,
    /// The party has no quota.
    NoQuota,
    /// A question names no table.
    EmptyFootprint,
    /// A question that costs nothing cannot be answered with noise.
    EpsilonZero,
    /// The question costs more than one question of this party may.
    EpsilonCap,
    /// The obligations leave no row that may be seen.
    EmptyScope,
    /// An act about a campaign does not describe it, or another act does.
    NoCampaign,
    /// The channel is not on the agreement's list.
    UnknownChannel,
    /// A contract allows no campaigns.
    NoActivation,
    /// The noisy size is below the floor, or not known.
    AudienceFloor,
    /// Too few households are held out.
    HoldoutMin,
    /// Members would stay too long, or no time at all.
    TtlMax,
    /// Too many campaigns inside the window.
    AttemptsMax,
    /// A needed party has not approved the very content.
    ApprovalMissing,
}

impl BuiltIn {
    /// Every built-in clause.
    pub const ALL: [Self; 24] = [
        Self::DefaultDeny,
        Self::PolicyError,
        Self::ClauseExpired,
        Self::UnknownParty,
        Self::UnknownRole,
        Self::UnknownPurpose,
        Self::UnknownDataset,
        Self::UnknownTable,
        Self::UnknownColumn,
        Self::NoContract,
        Self::ContractNotInForce,
        Self::NoQuota,
        Self::EmptyFootprint,
        Self::EpsilonZero,
        Self::EpsilonCap,
        Self::EmptyScope,
        Self::NoCampaign,
        Self::UnknownChannel,
        Self::NoActivation,
        Self::AudienceFloor,
        Self::HoldoutMin,
        Self::TtlMax,
        Self::AttemptsMax,
        Self::ApprovalMissing,
    ];

    /// The stable id, such as `DEFAULT-DENY`.
    pub const fn id(self) -> &'static str {
        self.words().0
    }

    /// What it says.
    pub const fn text(self, lang: Lang) -> &'static str {
        let (_, en, ru, kk) = self.words();
        match lang {
            Lang::En => en,
            Lang::Ru => ru,
            Lang::Kk => kk,
        }
    }

    /// The built-in clause of this id.
    pub fn named(id: &ClauseId) -> Option<Self> {
        Self::ALL.into_iter().find(|clause| clause.id() == id.as_str())
    }

    /// The id as a clause id, for denials; `None` never occurs, see the test below.
    pub(crate) fn clause(self) -> Option<ClauseId> {
        self.id().parse().ok()
    }

    const fn words(self) -> (&'static str, &'static str, &'static str, &'static str) {
        match self {
            Self::DefaultDeny => (
                "DEFAULT-DENY",
                "What no clause allows is denied.",
                "Что не разрешено ни одним пунктом, запрещено.",
                "Ешбір тармақ рұқсат етпеген нәрсеге тыйым салынады.",
            ),
            Self::PolicyError => (
                "POLICY-ERROR",
                "A rule that fails denies.",
                "Правило, которое дало сбой, запрещает.",
                "Қате берген ереже тыйым салады.",
            ),
            Self::ClauseExpired => (
                "CLAUSE-EXPIRED",
                "An expired clause allows nothing.",
                "Истёкший пункт ничего не разрешает.",
                "Мерзімі өткен тармақ ештеңеге рұқсат бермейді.",
            ),
            Self::UnknownParty => (
                "UNKNOWN-PARTY",
                "Only parties of the agreement may act.",
                "Действовать могут только стороны соглашения.",
                "Тек келісім тараптары ғана әрекет ете алады.",
            ),
            Self::UnknownRole => (
                "UNKNOWN-ROLE",
                "People act only in the roles their party has.",
                "Люди действуют только в ролях своей стороны.",
                "Адамдар тек өз тарапының рөлдерінде әрекет етеді.",
            ),
            Self::UnknownPurpose => (
                "UNKNOWN-PURPOSE",
                "Data is used only for the purposes the agreement lists.",
                "Данные используются только для целей из перечня соглашения.",
                "Деректер тек келісімде аталған мақсаттарға пайдаланылады.",
            ),
            Self::UnknownDataset => (
                "UNKNOWN-DATASET",
                "Only datasets of the agreement may be used.",
                "Использовать можно только наборы данных соглашения.",
                "Тек келісімдегі деректер жинақтарын пайдалануға болады.",
            ),
            Self::UnknownTable => (
                "UNKNOWN-TABLE",
                "Only tables that the agreement classifies may be used.",
                "Использовать можно только таблицы, классифицированные соглашением.",
                "Тек келісімде жіктелген кестелерді пайдалануға болады.",
            ),
            Self::UnknownColumn => (
                "UNKNOWN-COLUMN",
                "Only columns that have a level in the agreement may be used.",
                "Использовать можно только столбцы, имеющие уровень в соглашении.",
                "Тек келісімде деңгейі бар бағандарды пайдалануға болады.",
            ),
            Self::NoContract => (
                "NO-CONTRACT",
                "A party may use only datasets that a contract binds it to.",
                "Сторона может использовать только наборы данных по своему договору.",
                "Тарап тек өз шартындағы деректер жинақтарын пайдалана алады.",
            ),
            Self::ContractNotInForce => (
                "CONTRACT-NOT-IN-FORCE",
                "A contract allows nothing before its first and after its last day.",
                "Договор ничего не разрешает до первого и после последнего дня.",
                "Шарт алғашқы күніне дейін және соңғы күнінен кейін ештеңеге рұқсат бермейді.",
            ),
            Self::NoQuota => (
                "NO-QUOTA",
                "A party without a privacy budget may not ask.",
                "Сторона без бюджета приватности не может задавать вопросы.",
                "Құпиялылық бюджеті жоқ тарап сұрақ қоя алмайды.",
            ),
            Self::EmptyFootprint => (
                "EMPTY-FOOTPRINT",
                "A question says which tables it reads.",
                "Вопрос указывает, какие таблицы он читает.",
                "Сұрақ қандай кестелерді оқитынын көрсетеді.",
            ),
            Self::EpsilonZero => {
                ("EPSILON-ZERO", "A question costs something.", "Вопрос имеет цену.", "Сұрақтың құны бар.")
            }
            Self::EpsilonCap => (
                "EPSILON-CAP",
                "One question costs no more than its party's cap.",
                "Один вопрос стоит не больше предела его стороны.",
                "Бір сұрақтың құны тараптың шегінен аспайды.",
            ),
            Self::EmptyScope => (
                "EMPTY-SCOPE",
                "Where the obligations leave nothing to see, nothing is allowed.",
                "Где обязательства ничего не оставляют, ничего не разрешено.",
                "Міндеттемелер ештеңе қалдырмаса, ештеңеге рұқсат жоқ.",
            ),
            Self::NoCampaign => (
                "NO-CAMPAIGN",
                "An act about a campaign says which, where and how; no other act does.",
                "Действие с кампанией называет кампанию, каналы и получателей; никакое другое действие — нет.",
                "Науқанға қатысты әрекет науқанды, арналарды және алушыларды атайды; басқа ешбір әрекет атамайды.",
            ),
            Self::UnknownChannel => (
                "UNKNOWN-CHANNEL",
                "Shoppers are reached only on channels the agreement lists.",
                "Покупателей достигают только по каналам из перечня соглашения.",
                "Сатып алушыларға тек келісімде аталған арналар арқылы жетуге болады.",
            ),
            Self::NoActivation => (
                "NO-ACTIVATION",
                "A contract without terms of activation allows no campaigns.",
                "Договор без условий активации не допускает кампаний.",
                "Активация шарттары жоқ шарт науқандарға жол бермейді.",
            ),
            Self::AudienceFloor => (
                "AUDIENCE-FLOOR",
                "No audience is smaller than the agreement's floor, by its noisy size.",
                "Ни одна аудитория не меньше порога соглашения по зашумлённому размеру.",
                "Ешбір аудитория шуылды өлшемі бойынша келісім шегінен кіші болмайды.",
            ),
            Self::HoldoutMin => (
                "HOLDOUT-MIN",
                "Every campaign holds out at least the agreement's share of households.",
                "Каждая кампания оставляет в контроле не меньше доли, заданной соглашением.",
                "Әр науқан келісімдегі үлестен кем емес үй шаруашылығын бақылауда қалдырады.",
            ),
            Self::TtlMax => (
                "TTL-MAX",
                "No member stays at a destination longer than the agreement says.",
                "Никто не остаётся у получателя дольше, чем говорит соглашение.",
                "Ешкім алушыда келісімде айтылғаннан ұзақ қалмайды.",
            ),
            Self::AttemptsMax => (
                "ATTEMPTS-MAX",
                "One party puts forward no more campaigns in a window than the agreement says.",
                "Одна сторона выдвигает за период не больше кампаний, чем говорит соглашение.",
                "Бір тарап белгілі кезеңде келісімде айтылғаннан көп науқан ұсынбайды.",
            ),
            Self::ApprovalMissing => (
                "APPROVAL-MISSING",
                "Nothing is sent before every needed party has signed the exact content.",
                "Ничего не отправляется, пока каждая нужная сторона не подписала точное содержание.",
                "Әр қажетті тарап нақты мазмұнға қол қоймайынша ештеңе жіберілмейді.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_clause_ids_and_find_their_clause() {
        for clause in BuiltIn::ALL {
            assert_eq!(clause.clause().and_then(|id| BuiltIn::named(&id)), Some(clause));
            for lang in Lang::ALL {
                assert!(!clause.text(lang).is_empty());
            }
        }
        assert_eq!(BuiltIn::named(&"JV-1.1".parse().unwrap()), None);
    }
}
