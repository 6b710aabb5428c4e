export {
  defineConfig,
  describeSettings,
  readDynamicSetting,
  setting,
  type ConfigClass,
  type ConfigValues,
  type Setting,
  type SettingDescription,
  type SettingReading,
  type Settings,
} from './define-config.ts';
export { onConfigChange } from './dynamic-values.ts';
export { chassisSettings, type ChassisConfig } from './chassis-settings.ts';
export { InvalidConfigError } from './invalid-config.error.ts';
